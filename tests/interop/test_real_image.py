"""skopeo and podman, the programs, on the image of torch-cpu."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from reprise.build import BuiltImage
from reprise.environments import build_environment
from reprise.project import Project
from reprise.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store() -> Store:
    return Store.open(Path(os.environ.get("REPRISE_STORE", ROOT / ".cache" / "store")))


@pytest.fixture(scope="module")
def image(store: Store) -> BuiltImage:
    return build_environment(Project(ROOT), "torch-cpu", store)


def test_skopeo_sees_the_digest_that_was_built(skopeo: Any, store: Store, image: BuiltImage) -> None:
    seen = json.loads(skopeo("inspect", f"oci:{store.root}:torch-cpu").stdout)
    assert seen["Digest"] == image.digest
    assert len(seen["Layers"]) == len(image.layers) + 1  # the inventory
    assert seen["Labels"]["reprise.environment"] == image.environment_digest


def test_podman_pulls_it_and_its_python_imports_torch(
    podman: Any, store: Store, image: BuiltImage, tmp_path: Path
) -> None:
    # podman makes the image's local name from the layout's path, and refuses a path with parts like ".cache".
    layout = tmp_path / "layout"
    shutil.copytree(store.root, layout, copy_function=os.link, ignore=shutil.ignore_patterns("cache", "partial"))
    name = podman("pull", f"oci:{layout}:torch-cpu").stdout.split()[-1]
    (seen,) = json.loads(podman("image", "inspect", name).stdout)
    assert seen["Digest"] == image.digest
    isolated = ["--rm", "--network", "none", "--read-only"]
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # machines may forbid to raise them
    program = ["-I", "-c", "import torch; print(torch.__version__, torch.ones(2).sum().item())"]
    printed = podman("run", *isolated, *limits, "--entrypoint", "/usr/bin/python3.11", name, *program)
    assert printed.stdout.split() == ["2.13.0+cpu", "2.0"]
