"""Bad input gives one clear message, a documented exit code, no traceback, and leaves everything as it was."""

from __future__ import annotations

import contextlib
import json
from importlib.metadata import version
from pathlib import Path

import pytest
from small_image import Entry, make_image

from reprise.store import Store
from tests.cli.conftest import Reprise

ENVIRONMENT = Path("containers/images/torch-cpu.toml")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_unknown_environment_is_answered_with_the_nearest_one(reprise: Reprise) -> None:
    done = reprise("build", "torch-cpv")
    assert done.code == 66
    assert "unknown environment 'torch-cpv'" in done.err and "did you mean 'torch-cpu'" in done.err


def test_a_folder_without_a_project_says_what_is_missing(reprise: Reprise, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = reprise("build", "torch-cpu", "--project", tmp_path / "empty")
    assert done.code == 66 and "containers/images" in done.err


def test_a_malformed_environment_file_is_named_with_the_line(reprise: Reprise, project: Path) -> None:
    (project / ENVIRONMENT).write_text('name = "torch-cpu"\npython = \n')
    done = reprise("build", "torch-cpu")
    assert done.code == 65 and "torch-cpu.toml" in done.err and "line 2" in done.err


def test_a_lock_that_does_not_fit_its_environment_says_so(reprise: Reprise, project: Path) -> None:
    file = project / ENVIRONMENT
    file.write_text(file.read_text().replace('"numpy",', '"numpy",\n    "scipy",'))
    done = reprise("build", "torch-cpu")
    assert done.code == 65
    assert "does not match its environment file" in done.err and "reprise lock torch-cpu" in done.err


def test_a_missing_lock_says_how_to_write_one(reprise: Reprise, project: Path) -> None:
    (project / "locks/torch-cpu/conda-lock.yml").unlink()
    done = reprise("build", "torch-cpu")
    assert done.code == 66 and "reprise lock torch-cpu" in done.err


def test_a_lock_that_is_no_json_is_named(reprise: Reprise, project: Path) -> None:
    (project / "locks/torch-cpu/debian.lock.json").write_text("{")
    done = reprise("build", "torch-cpu")
    assert done.code == 65 and "debian.lock.json is not JSON" in done.err


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("file", "content", "arguments"),
    [
        (ENVIRONMENT, f"name = {DEEP}", ("build", "torch-cpu")),
        (Path("locks/torch-cpu/conda-lock.yml"), DEEP, ("build", "torch-cpu")),
        (Path("locks/torch-cpu/layers.json"), DEEP, ("fetch", "torch-cpu")),
        (
            Path("ignore.toml"),
            f"ignore = {DEEP}",
            ("scan", "torch-cpu", "--database", "osv", "--ignore", "ignore.toml"),
        ),
        (Path("osv/deep.json"), DEEP, ("scan", "torch-cpu", "--database", "osv")),
        (Path("examples/deep.toml"), f"run = {DEEP}", ("ingest", "examples/deep.toml")),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_what_is_nested_too_deeply_to_be_read_is_named(
    file: Path, content: str, arguments: tuple[str, ...], reprise: Reprise, project: Path
) -> None:
    (project / file).parent.mkdir(exist_ok=True)
    (project / file).write_text(content)
    done = reprise(*arguments)
    assert done.code == 65 and file.name in done.err, done.err


def test_without_any_source_the_artifact_and_the_places_asked_are_named(
    reprise: Reprise, project: Path, tmp_path: Path
) -> None:
    file = project / ENVIRONMENT
    file.write_text(file.read_text().partition("[sources]")[0])
    done = reprise("fetch", "torch-cpu")
    assert done.code == 69
    assert "torch-2.13.0" in done.err or "pkg:" in done.err
    assert not list((tmp_path / "store" / "blobs" / "sha256").iterdir())


def test_a_missing_configuration_is_named(reprise: Reprise) -> None:
    done = reprise("train", "examples/none.toml")
    assert done.code == 66 and "examples/none.toml" in done.err


def test_a_misspelt_key_gets_the_nearest_valid_name(reprise: Reprise, project: Path) -> None:
    config = project / "examples/fashion-mnist.toml"
    config.write_text(config.read_text().replace("batch_size", "batch_sise", 1))
    done = reprise("train", config)
    assert done.code == 65 and "batch_sise" in done.err and "did you mean 'batch_size'" in done.err


def test_an_image_that_was_never_built_says_how_to_build_it(reprise: Reprise) -> None:
    reprise("key")
    done = reprise("train", "examples/fashion-mnist.toml")
    assert done.code == 66 and "reprise build" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "examples/fashion-mnist.toml", "--fresh"], 2, "Name its folder with --resume"),
        (["train", "examples/fashion-mnist.toml", "--shard-cache", "2GB"], 2, "--shards-from"),
        (["lock", "torch-cpu", "--export", "pip", "--check"], 2, "leave --check"),
        (["slurm", "examples/fashion-mnist.toml", "--output", "a", "--workers", "3"], 65, "3 workers can't share"),
    ],
)
def test_what_would_be_ignored_or_fail_later_is_refused_at_once(
    reprise: Reprise, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    done = reprise(*arguments)
    assert done.code == code and said in done.err
    assert not (tmp_path / "store").exists() and not (tmp_path / "home").exists()


def test_a_dry_build_without_a_store_says_all_and_makes_none(reprise: Reprise, tmp_path: Path) -> None:
    done = reprise("build", "torch-cpu", "--dry-run", "--json")
    assert done.code == 0 and json.loads(done.out)
    assert not (tmp_path / "store").exists()


def test_a_key_that_is_named_is_made_by_the_verb_for_it_alone(reprise: Reprise, tmp_path: Path) -> None:
    make_image(Store.open(tmp_path / "store"), {"base": {"etc/name": Entry(b"x")}})
    done = reprise("sign", "small", "--key", "release.pem")
    assert done.code == 66 and "`reprise key --key release.pem` makes one" in done.err
    assert reprise("sign", "small", "--key", "awskm:alias/x").code == reprise("key", "--key", "foo:bar").code == 2
    assert reprise("key", "--key", "release.pem").code == 0
    assert reprise("sign", "small", "--key", "release.pem").code == 0


def test_verifying_without_a_store_makes_none(reprise: Reprise, tmp_path: Path) -> None:
    done = reprise("verify", "torch-cpu")
    assert done.code == 66 and "there is no store" in done.err
    assert not (tmp_path / "store").exists()


def test_a_key_that_others_can_read_is_refused(reprise: Reprise, tmp_path: Path) -> None:
    reprise("key")
    (tmp_path / "home" / "signing-key.pem").chmod(0o644)
    done = reprise("key")
    assert done.code == 65 and "chmod 600" in done.err


def test_machines_get_the_error_as_json(reprise: Reprise) -> None:
    done = reprise("build", "nowhere", "--json")
    error = json.loads(done.out)["error"]
    assert error["exit_code"] == done.code == 66 and "nowhere" in error["message"]


def test_a_full_disk_is_one_message_and_leaves_the_project_alone(
    reprise: Reprise, project: Path, small_disk: Path
) -> None:
    before = files(project)
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))
    done = reprise("key", "--key", small_disk / "key.pem")
    assert done.code == 74 and "No space left" in done.err
    done = reprise("build", "torch-cpu", "--store", small_disk / "store")
    assert done.code == 74 and "No space left" in done.err
    assert files(project) == before
    assert [path.name for path in small_disk.rglob("*") if path.is_file() and path.stat().st_size] == ["filler"]


def test_an_unknown_option_is_a_usage_error(reprise: Reprise) -> None:
    assert reprise("build", "--colour").code == 2


def test_every_verb_shows_an_example(reprise: Reprise) -> None:
    for verb in ("lock", "fetch", "build", "key", "sign", "verify", "train", "audit", "demo"):
        done = reprise(verb, "--help")
        assert done.code == 0 and f"reprise {verb}" in done.out, verb


def test_the_version_is_the_distributions(reprise: Reprise) -> None:
    done = reprise("--version")
    assert done.code == 0 and done.out.split() == ["reprise", version("reprise")]
