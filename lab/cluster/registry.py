"""The lab's image registry, as the host reaches it."""

from __future__ import annotations

import http.client
import json

from lab.config import REGISTRY, Lab
from lab.errors import ResourceError

# The kinds of manifest that it may return.
ACCEPT = ", ".join(
    (
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    )
)


def address(lab: Lab) -> str:
    """The registry's address on the host, as HOST:PORT."""
    return f"127.0.0.1:{lab.ports.registry}"


def digest(lab: Lab, image: str, tag: str = "latest") -> str:
    """The digest of an image such as registry.lab:5000/mnist; empty when the registry lacks it.

    Raises ResourceError when the registry does not answer.
    """
    try:
        answer, _ = _manifest(lab, "HEAD", image, tag)
    except (OSError, http.client.HTTPException) as error:
        raise ResourceError(
            f"the lab's registry does not answer at {address(lab)}: {error}",
            hint="invoke lab-ssh control-plane-1, then: systemctl status lab-registry",
        ) from error
    return answer.headers.get("Docker-Content-Digest", "") if answer.status == 200 else ""


def size(lab: Lab, image: str, tag: str = "latest") -> int:
    """The size of an image's layers in the registry, in bytes; raises as `digest` does."""
    try:
        _, body = _manifest(lab, "GET", image, tag)
        return sum(layer["size"] for layer in json.loads(body)["layers"])
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        raise ResourceError(f"the lab's registry has no {image}:{tag}: {error}") from error


def _manifest(
    lab: Lab, method: str, image: str, tag: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """The registry's response to a request for an image's manifest, and its body."""
    name = image.removeprefix(f"{REGISTRY}/")
    connection = http.client.HTTPConnection(address(lab), timeout=10)
    try:
        connection.request(method, f"/v2/{name}/manifests/{tag}", headers={"Accept": ACCEPT})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()
