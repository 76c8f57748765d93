"""Made-up advisories, and artifacts for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprise.lock.model import Artifact

WHEEL = Artifact("pkg:pypi/small-thing@2.0.1%2Bcpu?file_name=small_thing-2.0.1%2Bcpu-py3-none-any.whl", "a" * 64)
DEB = Artifact(
    "pkg:deb/debian/libsmall1@1:1.4-2%2Bb3?arch=amd64&distro=bookworm",
    "b" * 64,
    location="pool/main/s/small/libsmall1_1.4-2+b3_amd64.deb",
)
CONDA = Artifact("pkg:conda/other@1.1.1a?build=h1_0&channel=some-forge&subdir=linux-64&type=conda", "c" * 64)

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
LOW_V4 = "CVSS:4.0/AV:L/AC:H/AT:P/PR:H/UI:A/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N"

Write = Callable[..., Path]


def osv(name: str, package: dict[str, str], events: list[dict[str, str]] | None = None, **more: Any) -> dict[str, Any]:
    """An advisory in the OSV format about one package."""
    affected: dict[str, Any] = {"package": package, **more.pop("affected", {})}
    if events is not None:
        affected["ranges"] = [{"type": "ECOSYSTEM", "events": events}]
    return {"schema_version": "1.7.0", "id": name, "modified": "2026-01-01T00:00:00Z", "affected": [affected], **more}


@pytest.fixture
def database(tmp_path: Path) -> Write:
    """Write advisories into a folder, as an export of a database unpacks; the folder."""

    def write(*advisories: dict[str, Any]) -> Path:
        folder = tmp_path / "osv"
        for each in advisories:
            ecosystem = each["affected"][0]["package"].get("ecosystem", "other").replace(":", "_")
            (folder / ecosystem).mkdir(parents=True, exist_ok=True)
            (folder / ecosystem / f"{each['id']}.json").write_text(json.dumps(each))
        return folder

    return write
