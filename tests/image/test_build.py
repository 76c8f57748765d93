"""The whole builder, under the image's Python: constants, variations, failures."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from image_inputs import read_tar, unpacked, wheel_files, write_wheel
from layer_jobs import GOLDEN, LINES, digests, inputs

from reprise.image.bootstrap import ImagePython
from reprise.image.build_layers import build_layers
from reprise.image.job import LayerJob, layer_key
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, NotFoundError, StorageError, SystemFailureError
from reprise_trainer.identity.file_list import decode_list

ROOT = Path(__file__).parents[2]


def test_what_is_told_about_a_layer_holds(build: Any, tmp_path: Path) -> None:
    for layer in build(*inputs(tmp_path / "in")).values():
        blob = layer.blob_path.read_bytes()
        assert (layer.digest, layer.size) == (sha256_digest(blob), len(blob))
        assert layer.diff_id == sha256_digest(unpacked(blob))
        file_list = layer.list_path.read_bytes()
        assert layer.list_digest == sha256_digest(file_list)
        found = read_tar(unpacked(blob))
        assert found.pop(f"usr/share/reprise/lists/{layer.name}.json").data == file_list
        assert {each.path for each in decode_list(file_list)[1]} == found.keys()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_changes_nothing(build: Any, tmp_path: Path, workers: int) -> None:
    assert digests(build(*inputs(tmp_path / "in"), workers=workers)) == GOLDEN[1]


def test_order_and_times_of_members_and_the_order_of_jobs_change_nothing(build: Any, tmp_path: Path) -> None:
    assert digests(build(*inputs(tmp_path / "in", reverse=True, mtime=7))) == GOLDEN[1]


@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_umask_changes_nothing(build: Any, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert digests(build(*inputs(tmp_path / "in"))) == GOLDEN[1]
    finally:
        os.umask(before)


def test_the_host_s_environment_changes_nothing(build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {
        "LC_ALL": "tr_TR.UTF-8",
        "TZ": "Pacific/Kiritimati",
        "PYTHONHASHSEED": "7",
        "PYTHONOPTIMIZE": "2",
        "PYTHONPATH": str(tmp_path),
        "SOURCE_DATE_EPOCH": "1",
        "LD_LIBRARY_PATH": str(tmp_path),
        "ZSTD_CLEVEL": "19",
    }
    (tmp_path / "zstandard.py").write_text("raise SystemExit('not this one')")
    jobs = inputs(tmp_path / "in")
    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    assert digests(build(*jobs)) == GOLDEN[1]


def test_the_clock_changes_nothing(build: Any, python: ImagePython, tmp_path: Path) -> None:
    faketime = shutil.which("faketime")
    assert faketime
    later = replace(python, argv=(faketime, "-f", "2041-02-03 04:05:06", *python.argv))
    shown = subprocess.run(
        [*later.argv, "-c", "import time; print(time.gmtime().tm_year)"], capture_output=True, check=True
    )
    assert shown.stdout == b"2041\n"
    assert digests(build(*inputs(tmp_path / "in"), with_python=later)) == GOLDEN[1]


def test_the_library_that_inflates_changes_nothing(build: Any, python: ImagePython, tmp_path: Path) -> None:
    without_isal = tmp_path / "tools"
    without_isal.mkdir()
    (without_isal / "zstandard").symlink_to(python.packages / "zstandard")
    assert digests(build(*inputs(tmp_path / "in"), with_python=replace(python, packages=without_isal))) == GOLDEN[1]


def test_the_place_of_the_artifacts_changes_nothing(build: Any, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    assert digests(build(*inputs(tmp_path / "far" / "ünder é"))) == GOLDEN[1]


def test_a_layer_of_several_wheels_does_not_depend_on_their_order(build: Any, tmp_path: Path) -> None:
    wheels = [write_wheel(tmp_path, wheel_files(name, files={f"{name}.py": b"x = 1\n"})) for name in ("a", "b", "c")]
    artifacts = tuple((f"pkg:pypi/{path.name}", path) for path in wheels)
    one, other = build(LayerJob("w", "wheel", artifacts)), build(LayerJob("w", "wheel", artifacts[::-1]))
    assert one["w"].digest == other["w"].digest
    assert sum("RECORD" in path for path in read_tar(unpacked(one["w"].blob_path.read_bytes()))) == 3


def test_two_wheels_that_own_one_path_are_named(build: Any, tmp_path: Path) -> None:
    wheels = [write_wheel(tmp_path, wheel_files(name, files={"same.py": name.encode()})) for name in ("a", "b")]
    artifacts = tuple((f"pkg:pypi/{path.stem}", path) for path in wheels)
    with pytest.raises(InputError, match=r"/same\.py is owned twice .*pkg:pypi/a-1.* and by pkg:pypi/b-1"):
        build(LayerJob("w", "wheel", artifacts))


def test_a_damaged_wheel_is_named_and_nothing_is_left(build: Any, tmp_path: Path) -> None:
    jobs = inputs(tmp_path / "in")
    wheel = jobs[2].artifacts[0][1]
    data = bytearray(wheel.read_bytes())
    data[3_000_000:3_000_100] = bytes(100)
    wheel.write_bytes(data)
    with pytest.raises(InputError, match=r"pkg:pypi/small@1\.0 is damaged: 'small/data\.txt'"):
        build(*jobs)
    assert list((tmp_path / "built-0").iterdir()) == []


def test_an_artifact_that_is_not_there_is_named(build: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"gone\.whl does not exist"):
        build(LayerJob("w", "wheel", (("pkg:pypi/gone", tmp_path / "gone.whl"),)))


def test_a_full_disk_is_said_and_nothing_is_left(python: ImagePython, small_disk: Path, tmp_path: Path) -> None:
    noise = b"".join(bytes([n % 251 ^ n // 7 % 256]) * (1 + n % 3) for n in range(10))
    files = {"noise.bin": os.urandom(8_000_000) + noise}
    wheel = write_wheel(tmp_path, wheel_files(files=files))
    with pytest.raises(StorageError, match="No space left on device"):
        build_layers(python, [LayerJob("w", "wheel", (("pkg:pypi/w", wheel),))], output=small_disk, workers=2)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    "jobs",
    [
        (LayerJob("a", "base"), LayerJob("a", "base")),
        (LayerJob("../a", "base"),),
        (LayerJob("a", "wheel"),),
        (LayerJob("a", "base", (("p", Path("x")),)),),
        (LayerJob("a", "unknown", (("p", Path("x")),)),),  # type: ignore[arg-type]
    ],
)
def test_a_job_that_makes_no_sense_is_refused(build: Any, jobs: tuple[LayerJob, ...]) -> None:
    with pytest.raises(InputError):
        build(*jobs)


def test_a_python_that_does_not_start_is_said(build: Any, python: ImagePython) -> None:
    with pytest.raises(SystemFailureError, match="does not start"):
        build(LayerJob("base", "base"), with_python=replace(python, argv=("/nonexistent/python",)))
    with pytest.raises(SystemFailureError, match="ended with status 1"):
        build(LayerJob("base", "base"), with_python=replace(python, argv=("/bin/false",)))


def test_what_a_broken_builder_says_is_passed_on(build: Any, python: ImagePython) -> None:
    says = replace(python, argv=("/bin/sh", "-c", "echo Bail out: cpu 3 is there twice"))
    with pytest.raises(SystemFailureError, match="broke down: Bail out: cpu 3 is there twice"):
        build(LayerJob("base", "base"), with_python=says)


def slow_job(folder: Path) -> LayerJob:
    """Some seconds of work."""
    sources = {f"m{n}.py": b"".join(b"def f%d(x): return [x, %d]\n" % (i, n) for i in range(2000)) for n in range(150)}
    wheel = write_wheel(folder, wheel_files(files=sources))
    return LayerJob("slow", "wheel", (("pkg:pypi/slow", wheel),))


def builders(marker: str) -> list[int]:
    """Processes of ours: their command line holds the unpacked Python's path."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes() and " Z " not in (folder / "stat").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def leader(marker: str) -> int:
    """The builder itself among those processes: the one that none of the others has started."""
    ours = builders(marker)
    (found,) = (
        pid for pid in ours if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) not in ours
    )
    return found


def gone(marker: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while builders(marker):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_an_interruption_ends_all_workers_and_leaves_nothing(python: ImagePython, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    def interrupt(event: dict[str, Any]) -> None:
        assert builders(python.argv[3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_layers(python, [slow_job(tmp_path)], output=tmp_path / "out", workers=2, on_event=interrupt)
    assert gone(python.argv[3], 2)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def host(python: ImagePython, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A host process in the middle of a build."""
    job = slow_job(tmp_path)
    (tmp_path / "out").mkdir()
    program = (
        "import sys; from pathlib import Path; from reprise.image.bootstrap import ImagePython;"
        "from reprise.image.build_layers import build_layers; from reprise.image.job import LayerJob;"
        "from reprise.image.format import PythonLayout;"
        f"python = ImagePython({python.argv!r}, {python.digest!r}, Path({str(python.packages)!r}),"
        f"PythonLayout({python.layout.version!r}));"
        f"job = LayerJob('slow', 'wheel', (('pkg:pypi/slow', Path({str(job.artifacts[0][1])!r})),));"
        f"output = Path({str(tmp_path / 'out')!r});"
        "build_layers(python, [job], output=output, workers=2, on_event=lambda e: print(e, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_killing_the_host_ends_all_workers(host: subprocess.Popen[bytes], python: ImagePython) -> None:
    assert len(builders(python.argv[3])) >= 3  # the builder and two workers
    host.send_signal(signal.SIGKILL)
    host.wait()
    assert gone(python.argv[3], 5)


def test_killing_the_builder_ends_all_workers_and_is_said(python: ImagePython, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    killed = []

    def kill(event: dict[str, Any]) -> None:
        if not killed:
            killed.append(leader(python.argv[3]))
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(SystemFailureError, match="ended with status -9"):
        build_layers(python, [slow_job(tmp_path)], output=tmp_path / "out", workers=2, on_event=kill)
    assert gone(python.argv[3], 5)
    assert list((tmp_path / "out").iterdir()) == []


def test_killing_one_worker_fails_the_build(python: ImagePython, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    killed = []

    def kill(event: dict[str, Any]) -> None:
        if not killed:
            killed.append(next(pid for pid in builders(python.argv[3]) if pid != leader(python.argv[3])))
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(SystemFailureError, match="ended with status 1"):
        build_layers(python, [slow_job(tmp_path)], output=tmp_path / "out", workers=2, on_event=kill)
    assert list((tmp_path / "out").iterdir()) == []


def test_progress_starts_grows_and_ends_at_the_total(python: ImagePython, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    seen: list[dict[str, Any]] = []
    build_layers(python, inputs(tmp_path / "in"), output=tmp_path / "out", workers=2, on_event=seen.append)
    wheel = [event for event in seen if event["name"] == "wheel"]
    assert wheel[0]["state"] == "started" and wheel[-1]["state"] == "built"
    amounts = [event["bytes"] for event in wheel]
    assert amounts == sorted(amounts) and amounts[-1] == wheel[-1]["total"] > len(LINES)


Changed = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"kind": "deb"},
        {"artifacts": [("pkg:a", "00"), ("pkg:b", "22")]},
        {"python_digest": "sha256:1"},
        {"compression": "gzip"},
        {"format": 2},
    ],
)
def test_a_layer_s_key_changes_with_all_that_its_bytes_follow_from(change: dict[str, Any]) -> None:
    key: dict[str, Any] = {
        "name": "w",
        "kind": "wheel",
        "artifacts": [("pkg:a", "00"), ("pkg:b", "11")],
        "python_digest": "sha256:0",
    }
    assert layer_key(**{**key, **change}) != layer_key(**key)
    assert layer_key(**{**key, "artifacts": key["artifacts"][::-1]}) == layer_key(**key)
