"""`podman kube play`: Kubernetes' manifests on one machine, without Kubernetes."""

from __future__ import annotations

import re

from lab.orchestrators.docker import OneMachine, kill_by
from lab.orchestrators.ground import CLIENT, FIRST_PORT, IMAGE, client_of

PODMAN = "sh podman.sh"
STORE = "/run/lab/podman"
PLAY = f"{PODMAN} kube play --quiet --publish {FIRST_PORT}:8080"
NETWORK = "podman-default-kube-network"


class Podman(OneMachine):
    """The unchanged Deployment of the Kubernetes manifests."""

    name = "podman kube play"

    def version(self) -> str:
        """The version of Podman."""
        script = f"{PODMAN} version --format '{{{{.Client.Version}}}}'"
        return self.ground.run(self.machine, script).strip()

    def deploy(self) -> tuple[float, float]:
        """Play the file and start the client. Podman names the pod DEPLOYMENT-pod."""
        self.ground.run(self.machine, f"{PODMAN} pull --quiet {IMAGE}", 90)
        at, _ = self.ground.timed(self.machine, f"{PLAY} kube.yaml")
        first = self.ground.first_answer(self.machine, f"echo 127.0.0.1:{FIRST_PORT}")
        options = f"--network {NETWORK} --name {CLIENT}"
        client = client_of("web-pod:8080")
        self.ground.run(self.machine, f"{PODMAN} run --detach {options} {client}")
        return at, first

    def kill(self) -> float:
        """Kill the program like a crash; return the clock before."""
        return self.ground.timed(self.machine, kill_by(PODMAN, "web-pod-web"))[0]

    def scale(self, copies: int) -> tuple[float, str]:
        """Play the file with another number of replicas; return the clock and Podman's warning."""
        change = f"s/replicas: [0-9]*/replicas: {copies}/"
        script = f"sed '{change}' kube.yaml | {PLAY} --replace -"
        at, words = self.ground.timed(self.machine, script)
        found = re.search(r'msg="([^"]*replica[^"]*)"', words)
        return at, found[1] if found else ""

    def update(self, text: str) -> float:
        """Play the file with another text, which replaces the pod."""
        script = f"sed 's/value: v1/value: {text}/' kube.yaml | {PLAY} --replace -"
        return self.ground.timed(self.machine, script)[0]

    def log(self) -> str:
        """The log of the client's container."""
        return self.ground.run(self.machine, f"{PODMAN} logs {CLIENT}")

    def remove(self) -> None:
        """Remove pod, client and network, and then the folder with the image."""
        self.ground.run(
            self.machine,
            f"[ -d {STORE} ] || exit 0\n"
            f"{PODMAN} pod rm --all --force --time 0 >/dev/null\n"
            f"{PODMAN} rm --all --force --time 0 >/dev/null\n"
            f"{PODMAN} network rm --force {NETWORK} >/dev/null\n"
            f"{PODMAN} image rm --all --force >/dev/null\n"
            # Unmount first, since rm fails on a mounted folder.
            f"awk '$2 ~ \"^{STORE}/\" {{ print $2 }}' /proc/mounts | xargs -r umount\n"
            f"rm -rf {STORE}\n"
            # Remove stale network files, unless another Podman network exists.
            "ip -o link | grep -q ': podman' || { nft delete table inet netavark 2>/dev/null || :\n"
            "rm -rf /etc/containers/networks /run/containers/networks\n}",
        )
