"""The software bill of materials of a bundle, in CycloneDX's JSON."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from lab.toolchain.mirror import Entry, Mirrored

# Serial numbers of different bundles must differ, and equal bundles must have equal ones.
NAMESPACE = uuid.UUID("6d0ab2c5-8f3a-4f0e-9f5e-0e1c54a3f7b1")


@dataclass(frozen=True)
class Package:
    """A package inside an image; `kind` is the type of its package URL, `deb` or `docker`."""

    kind: str
    name: str
    version: str
    architecture: str = ""

    def component(self, image: str) -> Component:
        """The component. Its reference names the image, since several images may contain it."""
        group = "debian" if self.kind == "deb" else None
        qualifiers = {"arch": self.architecture} if self.architecture else {}
        url = PackageURL(self.kind, group, self.name, self.version, qualifiers)
        kind = ComponentType.CONTAINER if self.kind == "docker" else ComponentType.LIBRARY
        return Component(
            name=self.name, version=self.version, type=kind, purl=url, bom_ref=f"{image}#{url}"
        )


def document(items: Sequence[Mirrored], inside: Mapping[str, Sequence[Package]]) -> str:
    """The bill of a bundle's items; `inside` lists the packages of images by item.

    Equal items give equal text, since it has no time and its serial number comes from the hashes.
    """
    hashes = [entry.sha256 for item in items for entry in item.files.values()]
    whole = Component(name="lecture-lab", type=ComponentType.DATA, bom_ref="bundle")
    bom = Bom(
        serial_number=uuid.uuid5(NAMESPACE, " ".join(sorted(hashes))),
        metadata=BomMetaData(component=whole),
        components=[part for item in items for part in _parts(item, inside)],
    )
    bom.register_dependency(whole, bom.components)
    bom.metadata.timestamp = None  # type: ignore[assignment]
    return JsonV1Dot6(bom).output_as_string(indent=1)


def _parts(item: Mirrored, inside: Mapping[str, Sequence[Package]]) -> list[Component]:
    if item.name.startswith("wheels/"):
        return [_wheel(name, entry) for name, entry in item.files.items() if name.endswith(".whl")]
    image = item.name.startswith("image/")
    contents = [package.component(item.name) for package in inside.get(item.name, ())]
    return [
        Component(
            name=item.name,
            version=item.version,
            type=ComponentType.CONTAINER if image else ComponentType.APPLICATION,
            bom_ref=item.name,
            components=[*(_file(entry) for entry in item.files.values()), *contents],
        )
    ]


def _file(entry: Entry) -> Component:
    return Component(
        name=entry.path, type=ComponentType.FILE, bom_ref=entry.path, hashes=_hashes(entry)
    )


def _wheel(name: str, entry: Entry) -> Component:
    package, version = name.split("-")[:2]
    url = PackageURL("pypi", None, package.replace("_", "-").lower(), version)
    return Component(
        name=url.name, version=version, purl=url, bom_ref=str(url), hashes=_hashes(entry)
    )


def _hashes(entry: Entry) -> list[HashType]:
    return [HashType(alg=HashAlgorithm.SHA_256, content=entry.sha256)]
