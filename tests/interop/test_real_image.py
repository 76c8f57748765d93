"""skopeo and podman, the programs, on the image of torch-cpu."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from reprise.build import BuiltImage
from reprise.store import Store


def test_skopeo_sees_the_digest_that_was_built(skopeo: Any, shared_store: Store, torch_cpu: BuiltImage) -> None:
    seen = json.loads(skopeo("inspect", f"oci:{shared_store.root}:torch-cpu").stdout)
    assert seen["Digest"] == torch_cpu.digest
    assert len(seen["Layers"]) == len(torch_cpu.layers) + 1  # the inventory
    assert seen["Labels"]["reprise.environment"] == torch_cpu.environment_digest


def test_podman_pulls_it_and_its_python_imports_torch(
    podman: Any, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    # podman makes the image's local name from the layout's path, and refuses a path with parts like ".cache".
    layout = tmp_path / "layout"
    shutil.copytree(shared_store.root, layout, copy_function=os.link, ignore=shutil.ignore_patterns("cache", "partial"))
    name = podman("pull", f"oci:{layout}:torch-cpu").stdout.split()[-1]
    (seen,) = json.loads(podman("image", "inspect", name).stdout)
    assert seen["Digest"] == torch_cpu.digest
    isolated = ["--rm", "--network", "none", "--read-only"]
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # machines may forbid to raise them
    program = ["-I", "-c", "import torch; print(torch.__version__, torch.ones(2).sum().item())"]
    printed = podman("run", *isolated, *limits, "--entrypoint", "/usr/bin/python3.11", name, *program)
    assert printed.stdout.split() == ["2.13.0+cpu", "2.0"]
