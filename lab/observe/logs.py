"""Collect the logs for troubleshooting in one folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.config import Settings
from lab.errors import LabError
from lab.lifecycle.opened import known
from lab.machines.ssh import Remote, connections
from lab.output import Status
from lab.parallel import each

# k3s' containerd writes into its own file, others into the journal.
K3S_CONTAINERD = "/var/lib/rancher/k3s/agent/containerd/containerd.log"
COMMANDS = {
    "journal.log": ["journalctl", "--no-pager", "--lines", "5000"],
    "containerd.log": [
        "sh",
        "-c",
        f"if [ -f {K3S_CONTAINERD} ]; then tail -n 5000 {K3S_CONTAINERD};"
        " else journalctl --no-pager --lines 5000 --unit containerd; fi",
    ],
    "units.txt": ["systemctl", "--no-pager", "--failed"],
    "network.txt": ["sh", "-c", "ip -brief address; ip route; nft list ruleset | head -n 500"],
    "pods.txt": ["sh", "-c", "tail -n 200 /var/log/pods/*/*/*.log 2>/dev/null"],
    "cluster.txt": [
        "sh",
        "-c",
        "for config in /etc/kubernetes/admin.conf /etc/rancher/k3s/k3s.yaml; do"
        " [ ! -f $config ] || kubectl --kubeconfig $config"
        " get nodes,pods,services,events --all-namespaces --output wide; done",
    ],
}


def collect(settings: Settings, folder: Path, status: Status) -> Path:
    """Write the logs of the host's tools, of the stacks and of every machine; return the folder.

    An unreachable machine raises nothing. Its files contain the error message.
    """
    lab = known(settings)
    folder.mkdir(parents=True, exist_ok=True)
    if (lab.state / "logs").exists():
        shutil.copytree(lab.state / "logs", folder / "host", dirs_exist_ok=True)
    # The histories of `pulumi up` and `destroy`. The state itself is not copied.
    for path in (lab.state / "pulumi/.pulumi/history").glob("*/*/*.history.json"):
        target = folder / "stacks" / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)

    def one(remote: Remote) -> None:
        target = folder / remote.name
        target.mkdir(exist_ok=True)
        for name, command in COMMANDS.items():
            try:
                answer = remote.run(command, sudo=True, ok=range(256), timeout=30)
            except LabError as error:
                answer = f"{error}\n"
            (target / name).write_text(answer)
        remote.close()

    with status.step("logs of the machines"):
        each(connections(lab), one)
    return folder
