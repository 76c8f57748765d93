"""The large image too: a few surroundings at once, since each build takes a minute."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from tests.hostile.test_surroundings import POLLUTION

from hostile import CHECKOUT, Surroundings, build, stocked
from reprise.build import BuiltImage
from reprise.project import Project
from reprise.store import Store

TOGETHER = {
    "a closed umask, the last century and one CPU": Surroundings(
        prefix=("faketime", "1999-12-31 23:59:58", "taskset", "-c", "0", "/bin/sh", "-c", 'umask 077; exec "$@"', "sh"),
        arguments=("--workers", "1"),
    ),
    "another time zone, an ASCII locale, variables of other tools and five workers": Surroundings(
        environment={**POLLUTION, "TZ": "FAR-14:00", "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        arguments=("--workers", "5"),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", TOGETHER)
def test_torch_has_the_same_bits_with(
    name: str, project: Project, shared_store: Store, torch_cpu: BuiltImage, tmp_path: Path
) -> None:
    store = stocked(tmp_path / "store", shared_store, project, "torch-cpu")
    outcome = build(tmp_path, store, TOGETHER[name], project=CHECKOUT, name="torch-cpu")
    committed = (project.lock_folder("torch-cpu") / "environment.digest").read_text().strip()
    assert (outcome.said["environment_digest"], outcome.digest) == (committed, torch_cpu.digest)
    assert outcome.said["built"] == len(outcome.said["layers"])
    for layer in outcome.said["layers"]:
        with store.path(layer["digest"]).open("rb") as file:
            assert f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == layer["digest"]
    if "umask" in name:
        assert (outcome.saw["umask"], outcome.saw["cpus"]) == (0o077, 1) and outcome.saw["time"] < 946_771_200
    else:
        assert outcome.saw["utc_offset"] == 14 * 3600 and "utf-8" not in outcome.saw["encodings"]
    shutil.rmtree(store.root)
