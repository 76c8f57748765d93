"""A CycloneDX 1.6 document, the same bytes everywhere: no clock, no random number, one order, canonical JSON.

cyclonedx-python-lib models and validates; what could move between its releases (order of lists, spelling of a package
URL) is settled here once more, after it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reprise.bom.contents import Package
from reprise_trainer.canonical import canonical_json

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.dependency import Dependency

MEDIA_TYPE = "application/vnd.cyclonedx+json"
"""IANA's media type of a CycloneDX document in JSON."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:reprise:bom:v1")


@dataclass(frozen=True, slots=True)
class Subject:
    """The image that a bill is about: its environment's `name`, its manifest `digest`, the lock's time (seconds since
    1970), the purls of what it was asked for, and the digest of the trainer's source (empty without a trainer)."""

    name: str
    digest: str
    created: int
    requested: Sequence[str]
    trainer: str = ""


def cyclonedx_document(subject: Subject, packages: Iterable[Package]) -> bytes:
    """The bill of materials of an image, as canonical JSON.

    The serial number is a name-based UUID (RFC 9562, version 5) of the image's digest; the time is the lock's.
    """
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.tool import ToolRepository

    packages = list(packages)
    tool = _component("reprise", "reprise", type=ComponentType.APPLICATION)
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, subject.digest),
        version=1,
        metadata=BomMetaData(
            component=_image(subject),
            timestamp=_time(subject.created),
            tools=ToolRepository(components=[tool]),
        ),
        components=[*map(_package, packages), *([_trainer(subject.trainer)] if subject.trainer else [])],
        dependencies=_dependencies(subject, packages),
    )
    return _canonical(bom, subject.created)


def _image(subject: Subject) -> Component:
    from cyclonedx.model.component import ComponentType
    from packageurl import PackageURL

    return _component(
        subject.digest,
        subject.name,
        type=ComponentType.CONTAINER,
        version=subject.digest,
        purl=PackageURL("oci", None, subject.name, subject.digest),
        hashes=_sha256(subject.digest),
    )


def _package(package: Package) -> Component:
    from cyclonedx.model.component import ComponentScope
    from cyclonedx.model.license import DisjunctiveLicense, LicenseAcknowledgement, LicenseExpression
    from packageurl import PackageURL

    declared = LicenseAcknowledgement.DECLARED
    licences = package.licences
    said = (
        [LicenseExpression(licences.expression, acknowledgement=declared)]
        if licences.expression
        else [DisjunctiveLicense(name=name, acknowledgement=declared) for name in licences.names]
    )
    artifact = package.artifact
    return _component(
        artifact.purl,
        artifact.name,
        version=artifact.version,
        purl=PackageURL.from_string(artifact.purl),
        scope=ComponentScope.REQUIRED,
        hashes=_sha256(artifact.digest),
        licenses=said,
    )


def _trainer(digest: str) -> Component:
    from cyclonedx.model.component import ComponentType
    from cyclonedx.model.license import LicenseAcknowledgement, LicenseExpression

    return _component(
        "reprise-trainer",
        "reprise-trainer",
        type=ComponentType.APPLICATION,
        hashes=_sha256(digest),
        licenses=[LicenseExpression("Apache-2.0", acknowledgement=LicenseAcknowledgement.DECLARED)],
    )


def _component(reference: str, name: str, **fields: Any) -> Component:
    from cyclonedx.model.component import Component

    return Component(bom_ref=reference, name=name, **fields)


def _sha256(digest: str) -> list[Any]:
    from cyclonedx.model import HashAlgorithm, HashType

    return [HashType(alg=HashAlgorithm.SHA_256, content=digest.removeprefix("sha256:"))]


def _dependencies(subject: Subject, packages: Sequence[Package]) -> list[Dependency]:
    from cyclonedx.model.bom_ref import BomRef
    from cyclonedx.model.dependency import Dependency

    graph: dict[str, tuple[str, ...]] = {each.artifact.purl: each.depends for each in packages}
    top = tuple(subject.requested)
    if subject.trainer:
        graph["reprise-trainer"] = ()
        top = ("reprise-trainer", *top)
    graph[subject.digest] = top
    return [
        Dependency(BomRef(reference), [Dependency(BomRef(other)) for other in others])
        for reference, others in graph.items()
    ]


def _time(created: int) -> datetime:
    return datetime.fromtimestamp(created, UTC)


def _canonical(bom: Bom, created: int) -> bytes:
    from cyclonedx.output.json import JsonV1Dot6

    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"]["timestamp"] = _time(created).strftime("%Y-%m-%dT%H:%M:%SZ")
    for component in document["components"]:
        if "purl" in component:
            component["purl"] = component["bom-ref"]  # as the lock spells it: libraries differ on what to escape
        component.get("licenses", []).sort(key=canonical_json)
    document["components"].sort(key=lambda component: component["bom-ref"])
    for each in document["dependencies"]:
        each.get("dependsOn", []).sort()
    document["dependencies"].sort(key=lambda each: each["ref"])
    return canonical_json(document)
