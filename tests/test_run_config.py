"""The configuration that a run gets: the file's text, with what `--set` changed in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from reprise.engine.launch import copy_start
from reprise.run_config import load_config
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.config.overrides import parse_override
from reprise_trainer.config.read import read_config
from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.identity.launch import START_FOLDER

EXAMPLE = Path(__file__).parents[1] / "examples/fashion-mnist.toml"


def test_without_overrides_the_bytes_are_the_files() -> None:
    assert load_config(EXAMPLE).data == EXAMPLE.read_bytes()


def test_an_override_changes_its_value_and_no_comment() -> None:
    loaded = load_config(EXAMPLE, [parse_override("run.seed=5"), parse_override("train.optimizer.beta1=0.5")])
    data, parsed = loaded.data, loaded.config
    assert (parsed.run.seed, parsed.train.optimizer.model_dump()["beta1"]) == (5, 0.5)
    assert read_config(data, where="x") == parsed
    before, after = EXAMPLE.read_text().splitlines(), data.decode().splitlines()
    changed = [line for line in after if line not in before]
    assert changed == ["seed = 5", "beta1 = 0.5"]
    assert [line for line in before if line not in after] == ["seed = 1"]


def test_an_override_that_does_not_fit_is_named_and_nothing_is_made() -> None:
    with pytest.raises(InputError, match=r"run\.seed: .*greater than or equal to 0"):
        load_config(EXAMPLE, [parse_override("run.seed=-1")])


def test_a_missing_file_is_named() -> None:
    with pytest.raises(NotFoundError, match=r"nowhere\.toml"):
        load_config(Path("nowhere.toml"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A configuration that names a folder of code beside it."""
    (tmp_path / "src/mine").mkdir(parents=True)
    (tmp_path / "src/mine/model.py").write_text("WIDTH = 3\n")
    path = tmp_path / "run.toml"
    path.write_text(EXAMPLE.read_text() + '\n[code]\nfolder = "src"\n')
    return path


def test_the_effective_text_pins_the_code(own: Path) -> None:
    loaded = load_config(own)
    assert loaded.code is not None and loaded.config.code is not None
    assert loaded.config.code.sha256 == hashlib.sha256(loaded.code).hexdigest()
    assert loaded.data.decode().splitlines()[-1] == f'sha256 = "{loaded.config.code.sha256}"'
    assert load_config(own) == loaded
    (own.parent / "src/mine/model.py").write_text("WIDTH = 4\n")
    assert load_config(own).data != loaded.data


def test_code_that_is_not_what_the_file_pins_is_refused(own: Path) -> None:
    own.write_bytes(load_config(own).data)
    load_config(own)
    (own.parent / "src/mine/model.py").write_text("WIDTH = 4\n")
    with pytest.raises(InputError, match=r"code\.sha256 is [0-9a-f]{64}, the folder 'src' has"):
        load_config(own)


def test_a_missing_folder_of_code_is_named(own: Path) -> None:
    shutil.rmtree(own.parent / "src")
    with pytest.raises(NotFoundError, match="src is not a folder of sources"):
        load_config(own)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A configuration that starts from a run beside it, and that run."""
    for step in (3, 12):
        folder = tmp_path / f"base/checkpoints/step-{step:08d}"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps({"state": f"sha256:{step:064x}", "step": step}))
        (folder / "state.safetensors").write_bytes(b"tensors")
    path = tmp_path / "run.toml"
    path.write_text(EXAMPLE.read_text() + '\n[start]\ncheckpoint = "base"\n')
    return path


def test_the_effective_text_pins_the_checkpoint_to_start_from(base: Path) -> None:
    loaded = load_config(base)
    assert loaded.start == base.parent / "base/checkpoints/step-00000012"  # a run means its newest
    assert loaded.config.start is not None and loaded.config.start.state == f"sha256:{12:064x}"
    assert f'state = "sha256:{12:064x}"' in loaded.data.decode()

    (base.parent / "base/record.sigstore.json").write_bytes(b"record")
    named = load_config(base, [parse_override("start.checkpoint=base/checkpoints/step-00000003")])
    assert named.config.start is not None and named.config.start.state == f"sha256:{3:064x}"
    assert named.config.start.record == sha256_digest(b"record")


def test_another_checkpoint_than_the_one_pinned_is_refused(base: Path) -> None:
    with pytest.raises(InputError, match=r"start\.state is sha256:0+3, the checkpoint in .* has sha256:0+c"):
        load_config(base, [parse_override(f"start.state=sha256:{3:064x}")])
    with pytest.raises(NotFoundError, match=r"neither a checkpoint nor a run"):
        load_config(base, [parse_override("start.checkpoint=elsewhere")])
    (base.parent / "base/checkpoints/step-00000012/state.json").write_text("[]")
    with pytest.raises(InputError, match="not a checkpoint's document"):
        load_config(base)


def test_a_checkpoint_to_start_from_is_brought_to_the_run_whole(base: Path, tmp_path: Path) -> None:
    start = load_config(base).start
    assert start is not None
    copy_start(start, tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / START_FOLDER).iterdir()} == {
        path.name: path.read_bytes() for path in start.iterdir()
    }
