"""A CycloneDX document is valid by its schema, and the same bytes always."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from reprise.bom.contents import Package
from reprise.bom.document import Subject, cyclonedx_document
from reprise.bom.licences import Licences
from reprise.lock.model import Artifact

LIBC = "pkg:deb/debian/libcrypt1@1:4.4.33-2?arch=amd64&distro=bookworm"
SMALL = "pkg:pypi/small@2.0%2Bcpu?file_name=small-2.0%2Bcpu-py3-none-any.whl"
OTHER = "pkg:conda/other@1.0?build=h1_0&channel=some-forge&subdir=linux-64&type=conda"
SUBJECT = Subject("small", "sha256:" + "1" * 64, 1_700_000_000, (SMALL,), "sha256:" + "2" * 64)
PACKAGES = (
    Package(Artifact(SMALL, "a" * 64), Licences("MIT AND Zlib"), (OTHER, LIBC)),
    Package(Artifact(LIBC, "b" * 64), Licences(names=("Expat", "GPL-2+")), ()),
    Package(Artifact(OTHER, "c" * 64), Licences(), (LIBC,)),
)
GOLDEN = "779ed23c0cd16c269ddd6240f8077d53ee51b3b58a4ed216fb9ccbbb54964249"


def test_the_bytes_are_pinned() -> None:
    digest = hashlib.sha256(cyclonedx_document(SUBJECT, PACKAGES)).hexdigest()
    assert digest == GOLDEN, (
        "a bill of materials has other bytes now: if cyclonedx-python-lib moved, settle the difference in "
        "reprise/bom/document.py; if we did, say so in CHANGELOG.md: signatures of old bills stand, new ones differ"
    )


def test_neither_order_nor_hash_seed_nor_time_zone_changes_the_bytes() -> None:
    expected = cyclonedx_document(SUBJECT, PACKAGES)
    shuffled = list(PACKAGES)
    random.Random(1).shuffle(shuffled)
    assert cyclonedx_document(SUBJECT, shuffled) == expected
    program = (
        "import sys; sys.path[:0] = ['tests/bom']; import test_document as t; "
        "sys.stdout.buffer.write(t.cyclonedx_document(t.SUBJECT, t.PACKAGES))"
    )
    for seed, zone in (("1", "UTC"), ("2", "Asia/Kathmandu")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TZ": zone}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        assert done.stdout == expected


def test_another_image_has_another_serial_number() -> None:
    first = json.loads(cyclonedx_document(SUBJECT, PACKAGES))
    second = json.loads(cyclonedx_document(Subject("small", "sha256:" + "3" * 64, 0, (SMALL,)), PACKAGES))
    assert first["serialNumber"] != second["serialNumber"]
    assert first["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"


def test_each_package_has_its_locks_purl_hash_and_licences() -> None:
    document = json.loads(cyclonedx_document(SUBJECT, PACKAGES))
    components = {each["bom-ref"]: each for each in document["components"]}
    assert components[SMALL]["purl"] == SMALL and components[LIBC]["purl"] == LIBC
    assert components[SMALL]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert components[SMALL]["version"] == "2.0+cpu"
    assert components[SMALL]["licenses"] == [{"acknowledgement": "declared", "expression": "MIT AND Zlib"}]
    assert [each["license"]["name"] for each in components[LIBC]["licenses"]] == ["Expat", "GPL-2+"]
    assert "licenses" not in components[OTHER]


def test_the_graph_leads_from_the_image_to_every_package() -> None:
    document = json.loads(cyclonedx_document(SUBJECT, PACKAGES))
    graph = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    assert graph[SUBJECT.digest] == [SMALL, "reprise-trainer"]
    assert graph[SMALL] == [OTHER, LIBC] and graph[OTHER] == [LIBC]


def test_the_schema_holds_for_the_real_image(torch_contents: Any) -> None:
    subject = Subject("torch-cpu", "sha256:" + "1" * 64, torch_contents.lock.created, torch_contents.requested)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    document = cyclonedx_document(subject, torch_contents.packages)
    assert validator.validate_str(document.decode()) is None
    broken = document.replace(b'"alg":"SHA-256"', b'"alg":"SHA-257"')
    assert validator.validate_str(broken.decode()) is not None  # the validator does look
