"""A machine that is not ours: no configured pip, no apt, only the sources that the environment's TOML names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from loopback import Site, serve

from reprise.build import BuiltImage
from reprise.environments import load_lock
from reprise.project import Project
from reprise.store import Store
from tests.main_job.conftest import CHECKOUT


def test_everything_comes_from_the_sources_that_the_environment_names(
    shared_store: Store, torch_cpu: BuiltImage, project: Project, tmp_path: Path
) -> None:
    """A loopback server stands for a page of wheels and a Debian mirror."""
    site = Site()
    links = []
    for artifact in load_lock(project, "torch-cpu").artifacts:
        path = f"/debian/{artifact.location}" if artifact.kind == "deb" else f"/wheels/{artifact.file_name}"
        site.files[path] = shared_store.path(artifact.digest).read_bytes()
        if artifact.kind == "wheel":
            links.append(f'<a href="{artifact.file_name.replace("+", "%2B")}">{artifact.file_name}</a>')
    site.files["/wheels/"] = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
    site.types["/wheels/"] = "text/html"
    copy = tmp_path / "project"
    for folder in ("containers/images", "locks"):
        shutil.copytree(CHECKOUT / folder, copy / folder)
    toml = copy / "containers/images/torch-cpu.toml"
    (tmp_path / "apt").mkdir()
    (tmp_path / "apt.conf").write_text(
        "".join(f'Dir::{part} "{tmp_path}/apt";\n' for part in ("Etc", "State", "Cache"))
    )
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "APT_CONFIG": str(tmp_path / "apt.conf"),
        "REPRISE_STORE": str(tmp_path / "store"),
    }
    with serve(site):
        toml.write_text(
            toml.read_text().partition("[sources]")[0]
            + f'[sources]\nfind_links = ["{site.url("/wheels/")}"]\ndebian_mirror = "{site.url("/debian")}"\n'
        )
        done = subprocess.run(
            [sys.executable, "-m", "reprise", "build", "torch-cpu", "--json"],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout)
    assert built["environment_digest"] == torch_cpu.environment_digest
    assert len(site.paths()) >= len(load_lock(project, "torch-cpu").artifacts)
