"""The same for the real environment: pushed with its archive, wiped, pulled, rebuilt with no network at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from servers import docker_registry

from reprise.archive import archive_image
from reprise.build import BuiltImage
from reprise.project import Project
from reprise.registry.pull import pull
from reprise.registry.push import push
from reprise.registry.reference import Reference, parse_reference
from reprise.store import Store


def unchanged_push(store: Store, digest: str, reference: Reference) -> float:
    """Seconds of a push that has nothing to send."""
    started = time.perf_counter()
    report = push(store, digest, reference)
    assert (report.bytes, report.manifests) == (0, [])
    return time.perf_counter() - started


@pytest.mark.long
def test_torch_cpu_comes_back_from_a_registry_and_is_rebuilt_without_any_network(
    project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    archive_image(shared_store, torch_cpu.digest)
    with docker_registry(tmp_path / "registry") as host:
        reference = parse_reference(f"{host}/team/torch-cpu:1")
        push(shared_store, torch_cpu.digest, reference)
        assert min(unchanged_push(shared_store, torch_cpu.digest, reference) for _ in range(5)) < 0.5
        store = Store.open(tmp_path / "store")
        assert pull(reference, store).skipped == []
    (tmp_path / "apt.conf").write_text(f'Dir "{tmp_path}/none";\n')
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "APT_CONFIG": str(tmp_path / "apt.conf"),
    }
    command = ["unshare", "--net", sys.executable, "-m", "reprise", "build", "torch-cpu", "--offline", "--json"]
    done = subprocess.run(
        [*command, "--store", str(store.root)], cwd=project.root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["digest"] == torch_cpu.digest
    assert again["built"] == len(again["layers"]), "a layer came from a cache"
