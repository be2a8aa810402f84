"""The images of the cluster and of the exercises, and the parts of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

REPOSITORY = "lecture-lab"
# On the host, the cluster's images have names of the lab, so that the host's images stay as they
# are. In the node they get their real names (vagrant/node/bake).
ON_HOST = f"{REPOSITORY}/images"
# The only part that is the same on every platform.
CERTIFICATES = "certificates"


@dataclass(frozen=True)
class Image:
    """An image made from parts of Debian and the toolchain's programs.

    `files` maps a program of the toolchain to its place in the image. `part` is the folder of
    vagrant/images/parts that the image starts from, and `command` is its entry point. `upstream` is
    the digest of the published image, which the lab prefers when it can be pulled.
    """

    name: str
    tool: str
    files: Mapping[str, str]
    part: str = ""
    command: Sequence[str] = ()
    upstream: str = ""

    def reference(self, versions: Mapping[str, str]) -> str:
        """The full name with its tag, e.g. registry.k8s.io/etcd:3.6.7-0."""
        return self.name.format(version=versions.get(self.tool, ""))


def _kubernetes(program: str, part: str = "") -> Image:
    return Image(
        f"registry.k8s.io/{program}:v{{version}}",
        "kubernetes",
        {program: f"/usr/local/bin/{program}"},
        part,
    )


# The image of every pod's first container. k3s has its own if it comes with images.
PAUSE = Image("registry.k8s.io/pause:3.10.1", "", {}, "pause", ("/pause", "-P"))
CLUSTER_IMAGES = (
    _kubernetes("kube-apiserver"),
    _kubernetes("kube-controller-manager"),
    _kubernetes("kube-scheduler"),
    _kubernetes("kube-proxy", part="nettools"),
    Image("registry.k8s.io/etcd:{version}-0", "etcd", {"etcd": "/usr/local/bin/etcd"}),
    Image(
        "registry.k8s.io/coredns/coredns:v{version}",
        "coredns",
        {"coredns": "/coredns"},
        CERTIFICATES,
        ("/coredns",),
    ),
    PAUSE,
    Image(
        "ghcr.io/flannel-io/flannel:v{version}",
        "flannel",
        {"flanneld": "/opt/bin/flanneld"},
        "flannel",
        ("/opt/bin/flanneld",),
    ),
    Image(
        "docker.io/library/traefik:v{version}",
        "traefik",
        {"traefik": "/usr/local/bin/traefik"},
        CERTIFICATES,
        ("traefik",),
    ),
    Image(
        "docker.io/rancher/local-path-provisioner:v{version}",
        "local-path-provisioner",
        {"local-path-provisioner": "/usr/bin/local-path-provisioner"},
        CERTIFICATES,
        ("local-path-provisioner",),
    ),
    Image("quay.io/metallb/controller:v{version}", "metallb", {"controller": "/controller"}),
    Image("quay.io/metallb/speaker:v{version}", "metallb", {"speaker": "/speaker"}),
    Image(
        "registry.k8s.io/metrics-server/metrics-server:v{version}",
        "metrics-server",
        {"metrics-server": "/metrics-server"},
        CERTIFICATES,
        ("/metrics-server",),
    ),
)
# The images of the exercises: published ones, or Debian's programs under the same names.
STUDENT_IMAGES = (
    Image(
        "docker.io/library/busybox:1.37",
        "",
        {},
        "busybox",
        ("sh",),
        "sha256:9db7b59979c38555a39def84a31fb98b5296952f9e3afd4f6f11f05b07adfab0",
    ),
    Image(
        "docker.io/library/nginx:1.26",
        "",
        {},
        "nginx",
        ("nginx", "-g", "daemon off;"),
        "sha256:41b194461e4bae16f9b25d68b0976ed4735b89ca625c89aad88e1c1c3b7e8860",
    ),
)


@dataclass(frozen=True)
class NodeImage:
    """The inputs of the image of a distribution's nodes.

    `source` is the folder of vagrant/ with its Dockerfile, and names the image. `tools` are the
    items of the toolchain inside. `layout` maps a folder of the build to programs and their names
    there. Archives of images among the programs go into the folder `archives`. The nodes run the
    images `own`, and the lab's registry has `served`.
    """

    source: str
    tools: tuple[str, ...]
    layout: Mapping[str, Mapping[str, str]]
    own: tuple[Image, ...]
    served: tuple[Image, ...]
    archives: str = ""

    def brings(self, name: str) -> bool:
        """Whether nodes have one of our images with this name, given without a tag."""
        return any(image.name.rpartition(":")[0] == name for image in self.own)
