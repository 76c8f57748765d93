from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reprise.audit.rebuild import bring_artifacts
from reprise.audit.replay import workshop_folder
from reprise.lock.model import Artifact, Sources
from reprise.store import Store

DATA = b"a data file" * 1000
ARTIFACT = Artifact(
    "pkg:generic/data@1?file_name=data.bin", hashlib.sha256(DATA).hexdigest(), "main", "pool/main/d/data/data.bin"
)


def test_artifacts_come_from_the_given_store_without_a_copy(tmp_path: Path) -> None:
    store, empty = Store.open(tmp_path / "store"), Store.open(tmp_path / "empty")
    store.add(DATA)
    bring_artifacts([ARTIFACT], store, empty, Sources())
    assert empty.read(ARTIFACT.digest) == DATA
    assert empty.path(ARTIFACT.digest).samefile(store.path(ARTIFACT.digest))
    assert list((empty.root / "partial").iterdir()) == []


def test_an_artifact_that_is_damaged_in_the_given_store_is_fetched_afresh(tmp_path: Path) -> None:
    store, empty = Store.open(tmp_path / "store"), Store.open(tmp_path / "empty")
    store.add(DATA)
    store.path(ARTIFACT.digest).write_bytes(DATA[:-1] + b"!")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "data.bin").write_bytes(DATA)
    bring_artifacts([ARTIFACT], store, empty, Sources(directories=(str(tmp_path / "files"),)))
    assert empty.read(ARTIFACT.digest) == DATA


def test_the_workshop_is_gone_afterwards(tmp_path: Path) -> None:
    with workshop_folder(tmp_path) as folder:
        (folder / "store").mkdir()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="stop"), workshop_folder(tmp_path):
        raise ValueError("stop")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_audit_left_is_removed_by_the_next(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from reprise.audit.replay import workshop_folder\n"
        "with workshop_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'large').write_bytes(b'x'); print(folder, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with workshop_folder(tmp_path) as folder:
            assert left.exists() and folder != left  # at work: kept
        os.kill(process.pid, signal.SIGKILL)
    assert left.exists()
    with workshop_folder(tmp_path):
        assert not left.exists()
