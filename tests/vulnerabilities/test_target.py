"""A scan's target: an environment's lock, or the lock that an image names."""

from __future__ import annotations

from pathlib import Path

import pytest

from reprise.build import BuiltImage
from reprise.environments import load_lock
from reprise.project import Project
from reprise.store import Store
from reprise.vulnerabilities.target import find_lock
from reprise_trainer.errors import NotFoundError


def test_an_image_is_scanned_by_the_lock_that_it_names(
    torch_cpu: BuiltImage, project: Project, shared_store: Store, tmp_path: Path
) -> None:
    expected = load_lock(project, "torch-cpu")
    assert find_lock(torch_cpu.digest, tmp_path, shared_store.root) == expected  # no project is needed
    assert find_lock("torch-cpu", project.root, tmp_path / "no store") == expected


def test_an_unknown_image_is_named(shared_store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="sha256:0000"):
        find_lock("sha256:" + "0" * 64, tmp_path, shared_store.root)
