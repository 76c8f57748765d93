"""pip with one index on the loopback interface and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from loopback import Site, serve

JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An index that `publish` fills; the only place that pip is configured with."""
    with serve(Site()) as site:
        for name in [each for each in os.environ if each.startswith("PIP_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PIP_INDEX_URL", site.url("/simple"))
        yield site


def publish(site: Site, project: str, *files: dict[str, Any]) -> None:
    """A project's page in the JSON form (PEP 691), with upload times (PEP 700)."""
    path = f"/simple/{project}/"
    entries = [{"url": f"/files/{each['filename']}", "hashes": {}, **each} for each in files]
    page = {"meta": {"api-version": "1.1"}, "name": project, "files": entries}
    site.files[path] = json.dumps(page).encode()
    site.types[path] = JSON
