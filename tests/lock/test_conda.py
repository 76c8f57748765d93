"""The conda part: py-rattler's solver on a channel, and a lock that keeps all it was solved with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conda_lock.lockfile import parse_conda_lock_file
from tests.lock.conftest import Workshop
from tests.support.conda_channel import Channel, index_channel
from tests.support.conda_package import Package, PackageFile, write_package
from tests.support.loopback import Site, serve
from tests.support.wheels import write_wheel

from reprise.lock.check import check_lock
from reprise.lock.conda import inspect
from reprise.lock.model import CONDA_LOCK, CONDA_SPEC, DEBIAN_LOCK, LAYER_PLAN, Lock
from reprise.lock.read import read_lock
from reprise.store import Store
from reprise_trainer.errors import InputError, NotFoundError, SystemFailureError, UnavailableError


def packages(lock: Lock, kind: str = "conda") -> dict[str, str]:
    return {each.name: each.version for each in lock.artifacts if each.kind == kind}


def test_packages_come_with_all_that_they_depend_on(workshop: Workshop, channel: str) -> None:
    workshop.write(f'channels = ["{channel}"]\npackages = ["tool", "legacy"]')
    lock = workshop.lock().lock
    assert packages(lock) == {
        "legacy": "0.9", "libblas": "1.1", "numpy": "2.1.0", "python": "3.11.9", "tool": "1.0"
    }  # fmt: skip
    assert lock.conda is not None and lock.conda.site_packages == "lib/python3.11/site-packages"
    assert lock.conda.virtual == (("__glibc", "2.36"), ("__linux", "0"), ("__unix", "0"))


def test_an_entry_has_what_condas_tools_need(workshop: Workshop, channel: str) -> None:
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy"]')
    workshop.lock()
    entry = next(each for each in parse_conda_lock_file(workshop.folder / CONDA_LOCK).package if each.name == "numpy")
    assert entry.url == f"{channel}/linux-64/numpy-2.1.0-py311_0.conda"
    assert len(entry.hash.md5 or "") == 32 and len(entry.hash.sha256 or "") == 64
    assert (entry.build, entry.manager, entry.categories) == ("py311_0", "conda", {"main"})
    assert entry.dependencies == {"libblas": "!=1.5,>=1.1", "python": ">=3.11,<3.12"}


def test_conda_lock_reads_what_is_written(workshop: Workshop, channel: str) -> None:
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy"]\nvirtual = {{ __cuda = "12.4" }}')
    lock = workshop.lock().lock
    theirs = parse_conda_lock_file(workshop.folder / CONDA_LOCK)
    assert [each.url for each in theirs.metadata.channels] == [channel]
    assert json.loads((theirs.metadata.custom_metadata or {})["virtual_packages"])["__cuda"] == "12.4"
    assert {(each.url, each.hash.sha256) for each in theirs.package} == {
        (each.location, each.sha256) for each in lock.artifacts if each.kind == "conda"
    }


def test_the_lock_is_strict(workshop: Workshop, channel: str, tmp_path: Path) -> None:
    workshop.write(f'channels = ["{channel}"]\npackages = ["tool", "yaml-for-python"]')
    workshop.lock()
    assert check_lock(workshop.folder, workshop.file, Store.open(tmp_path / "store")) == []


def test_a_specification_is_solved_with_its_pip_part(
    workshop: Workshop, channel: str, offline_pip: Path, tmp_path: Path
) -> None:
    write_wheel(offline_pip, "alpha")
    (tmp_path / "env.yml").write_text(
        f"name: x\nchannels: [{channel}, nodefaults]\ndependencies:\n  - numpy <2\n  - apart  # [osx]\n"
        "  - pip:\n    - alpha >=1\n"
    )
    workshop.write('specification = "env.yml"')
    lock = workshop.lock().lock
    assert packages(lock) == {"libblas": "1.1", "numpy": "1.26.4", "python": "3.11.9"}
    assert packages(lock, "wheel") == {"alpha": "1.0"}
    assert '"numpy <2"' in (workshop.folder / CONDA_SPEC).read_text()


@pytest.mark.parametrize(("virtual", "expected"), [('__cuda = "12.4"', "gpu"), ('__archspec = "x86_64_v3"', "fast")])
def test_virtual_packages_are_what_the_file_says(workshop: Workshop, channel: str, virtual: str, expected: str) -> None:
    workshop.write(f'channels = ["{channel}"]\npackages = ["{expected}"]')
    with pytest.raises(InputError, match=f"no solution(?s:.)*{virtual.partition(' ')[0]}"):
        workshop.propose()
    workshop.write(f'channels = ["{channel}"]\npackages = ["{expected}"]\nvirtual = {{ {virtual} }}')
    assert packages(workshop.propose().lock) == {expected: "1.0"}


@pytest.mark.parametrize(
    ("conda", "message"),
    [
        ('packages = ["tool", "wants-old", "numpy >=2"]', r"no solution(?s:.)*libblas <1\.1(?s:.)*libblas >=1\.1"),
        ('packages = ["absent"]', "No candidates were found for absent"),
        ('packages = ["new-glibc"]', r"__glibc >=2\.99"),
        ('packages = ["numpy =="]', "'numpy ==' is not a match spec"),
        ('packages = ["apart"]\nvirtual = { __glibc = "2.40" }', r"__glibc is 2\.40, the image's C library is 2\.36"),
        ('packages = ["apart"]\nvirtual = { cuda = "12" }', "cuda is no virtual package"),
        ('packages = ["apart"]\nvirtual = { __cuda = "new" }', "__cuda is 'new', expected VERSION"),
        ('packages = ["python 3.12.*"]', r"constraint python 3\.11\.\* cannot be fulfilled"),
    ],
)
def test_what_cannot_be_solved_is_explained_in_one_message(
    workshop: Workshop, channel: str, conda: str, message: str
) -> None:
    workshop.write(f'channels = ["{channel}"]\n{conda}')
    with pytest.raises(InputError, match=message):
        workshop.propose()
    assert not workshop.folder.exists()


def test_a_channel_that_does_not_exist_is_named(workshop: Workshop, channel: str) -> None:
    workshop.write(f'channels = ["{channel}-of-nobody"]\npackages = ["apart"]')
    with pytest.raises(NotFoundError, match="channel-of-nobody"):
        workshop.propose()


def test_a_channel_that_does_not_answer_is_named(workshop: Workshop) -> None:
    workshop.write('channels = ["http://127.0.0.1:9/silent"]\npackages = ["apart"]')
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9/silent.*refused"):
        workshop.propose()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("channels: [", "is not YAML"),
        ("- a\n", "holds no conda specification"),
        ("dependencies: [apart]", "names no channels"),
        ("channels: [defaults]\ndependencies: [apart]", "defaults stands for other channels"),
        ("channels: [c]\ndependencies: apart", "dependencies is 'apart', expected a list"),
        ("channels: [c]\ndependencies: [{npm: [x]}]", "dependencies has .*npm"),
        ("channels: [c]\ndependencies: [{pip: ['-e .']}]", "'-e .', which no lock can name"),
        ("channels: [c]\ndependencies: [{pip: ['git+https://h/x']}]", "which no lock can name"),
        ("channels: [c]\nvariables: {A: b}\ndependencies: []", "variables is not supported"),
        ("channels: [c]\ncategory: dev\ndependencies: []", "category is 'dev'"),
    ],
)
def test_a_malformed_specification_is_named(workshop: Workshop, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "env.yml").write_text(text)
    workshop.write('specification = "env.yml"')
    with pytest.raises(InputError, match=rf"env\.yml.*{message}"):
        workshop.propose()


def test_a_missing_specification_is_named(workshop: Workshop) -> None:
    workshop.write('specification = "absent.yml"')
    with pytest.raises(NotFoundError, match=r"absent\.yml, which is no file"):
        workshop.propose()


def test_credentials_stay_out_of_the_lock(workshop: Workshop, channel: str) -> None:
    secret = channel.replace("http://", "http://me:secret@")
    workshop.write(f'channels = ["{secret}"]\npackages = ["apart"]')
    workshop.lock()
    for path in workshop.folder.iterdir():
        assert "secret" not in path.read_text(), path.name
    assert channel in (workshop.folder / CONDA_LOCK).read_text()


def test_the_first_channel_that_has_a_package_is_the_only_one_for_it(
    workshop: Workshop, channel: str, tmp_path: Path
) -> None:
    write_package(tmp_path / "mine" / "channel", Package("libblas", "0.1"))
    mine = index_channel(tmp_path / "mine" / "channel").folder.as_uri()
    workshop.write(f'channels = ["{mine}", "{channel}"]\npackages = ["libblas", "apart"]')
    lock = workshop.lock().lock
    assert packages(lock) == {"apart": "1.0", "libblas": "0.1"}
    assert next(each for each in lock.artifacts if each.name == "libblas").location.startswith("file://")


def test_a_distribution_that_conda_provides_is_not_asked_of_pip(
    workshop: Workshop, channel: str, offline_pip: Path
) -> None:
    write_wheel(offline_pip, "alpha", requires=["numpy>=1", "pyyaml"])
    write_wheel(offline_pip, "numpy", "9.0")
    write_wheel(offline_pip, "numpy", "2.1.0", tag="cp311-cp311-manylinux_2_28_x86_64")
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy", "yaml-for-python"]', '["alpha"]')
    lock = workshop.lock().lock
    assert packages(lock, "wheel") == {"alpha": "1.0"}
    custom = parse_conda_lock_file(workshop.folder / CONDA_LOCK).metadata.custom_metadata or {}
    assert json.loads(custom["provides"]) == {"numpy": "2.1.0", "pyyaml": "6.0.1"}


def test_pip_must_live_with_the_version_that_conda_provides(
    workshop: Workshop, channel: str, offline_pip: Path, tmp_path: Path
) -> None:
    write_wheel(offline_pip, "alpha", "2.0", requires=["numpy>=9"])
    write_wheel(offline_pip, "alpha", "1.0", requires=["numpy>=2"])
    write_wheel(offline_pip, "numpy", "9.0")
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy"]', '["alpha"]')
    assert packages(workshop.lock().lock, "wheel") == {"alpha": "1.0"}
    assert check_lock(workshop.folder, workshop.file, Store.open(tmp_path / "store")) == []
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy"]', '["alpha", "numpy>=9"]')
    with pytest.raises(InputError, match="numpy"):
        workshop.propose()


def test_extras_of_what_conda_provides_are_refused(workshop: Workshop, channel: str, offline_pip: Path) -> None:
    write_wheel(offline_pip, "alpha", requires=["numpy[fast]"])
    workshop.write(f'channels = ["{channel}"]\npackages = ["numpy"]', '["alpha"]')
    with pytest.raises(InputError, match=r"extras of numpy, which conda provides"):
        workshop.propose()


def test_markers_know_the_release_of_condas_python(workshop: Workshop, channel: str, offline_pip: Path) -> None:
    write_wheel(
        offline_pip,
        "alpha",
        requires=["old; python_full_version < '3.11.9'", "new; python_full_version >= '3.11.9'"],
    )
    write_wheel(offline_pip, "old")
    write_wheel(offline_pip, "new")
    workshop.write(f'channels = ["{channel}"]\npackages = ["python"]', '["alpha"]')
    assert packages(workshop.propose().lock, "wheel") == {"alpha": "1.0", "new": "1.0"}
    workshop.write(f'channels = ["{channel}"]\npackages = ["apart"]', '["alpha"]')
    assert packages(workshop.propose().lock, "wheel") == {"alpha": "1.0", "old": "1.0"}


def test_without_condas_python_its_packages_provide_nothing(workshop: Workshop, channel: str) -> None:
    workshop.write(f'channels = ["{channel}"]\npackages = ["apart"]')
    lock = workshop.lock().lock
    assert lock.conda is not None and lock.conda.site_packages == ""


def test_a_changed_specification_makes_the_lock_stale(workshop: Workshop, channel: str, tmp_path: Path) -> None:
    spec = tmp_path / "env.yml"
    spec.write_text(f"channels: [{channel}]\ndependencies: [apart]\n")
    workshop.write('specification = "env.yml"')
    workshop.lock()
    store = Store.open(tmp_path / "store")
    assert check_lock(workshop.folder, workshop.file, store) == []
    spec.write_text(spec.read_text() + "# a comment\n")
    (problem,) = check_lock(workshop.folder, workshop.file, store)
    assert "does not match env.yml" in problem.what and "reprise lock small" in problem.what
    spec.unlink()
    (problem,) = check_lock(workshop.folder, workshop.file, store)
    assert "env.yml, which is no file" in problem.what
    assert read_lock(workshop.folder, workshop.file).conda is not None, "an audit needs no specification"


def test_the_same_solution_gives_the_same_bytes(workshop: Workshop, channel: str, tmp_path: Path) -> None:
    workshop.write(f'channels = ["{channel}"]\npackages = ["tool", "apart"]')
    one, other = workshop.propose(), workshop.propose()
    assert dict(one.files) == dict(other.files) and one.lock == other.lock


def test_the_order_of_the_lines_changes_nothing(
    workshop: Workshop, channel: str, offline_pip: Path, tmp_path: Path
) -> None:
    write_wheel(offline_pip, "alpha", requires=["beta"])
    write_wheel(offline_pip, "beta")
    spec = tmp_path / "env.yml"
    workshop.write('specification = "env.yml"')
    found = []
    for lines in (["tool", "apart", "numpy <2"], ["numpy <2", "tool", "apart"]):
        pip = ["alpha", "beta"] if lines[0] == "tool" else ["beta", "alpha"]
        spec.write_text(json.dumps({"channels": [channel], "dependencies": [*lines, {"pip": pip}]}))
        files = workshop.propose().files
        document = json.loads(files[CONDA_LOCK])
        document["metadata"].pop("inputs_metadata")
        found.append((document, files[DEBIAN_LOCK], files[LAYER_PLAN]))
    assert found[0] == found[1]


def test_a_channel_with_a_password_is_asked_with_the_netrc_of_the_user(
    workshop: Workshop, made_channel: Channel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, offline_pip: Path
) -> None:
    write_wheel(offline_pip, "alpha")
    (tmp_path / "netrc").write_text("machine 127.0.0.1\nlogin me\npassword secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with made_channel.serve() as (address, site):
        site.password = "secret"
        workshop.write(f'channels = ["{address}"]\npackages = ["numpy"]', '["alpha"]')
        assert packages(workshop.propose().lock)["numpy"] == "2.1.0"
        monkeypatch.setenv("NETRC", "/dev/null")
        monkeypatch.setenv("RATTLER_CACHE_DIR", str(tmp_path / "another"))
        with pytest.raises(UnavailableError, match="401"):
            workshop.propose()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ImportError('none')", r"py-rattler is not installed\n.*reprise\[lock\]"),
        ("import os; os.abort()", "py-rattler gave no answer"),
        ("raise RuntimeError('odd')", "odd"),
    ],
)
def test_a_solver_that_is_missing_or_crashes_is_one_message(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "rattler.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    workshop.write('channels = ["http://127.0.0.1:9/c"]\npackages = ["apart"]')
    with pytest.raises((SystemFailureError, UnavailableError), match=message):
        workshop.propose()


@pytest.mark.parametrize(
    ("conda", "message"),
    [
        ('packages = ["a"]', "conda.packages needs conda.channels"),
        ('channels = ["defaults"]\npackages = ["a"]', "defaults stands for other channels"),
        ('channels = ["c"]\npackages = ["a"]\ncategories = ["dev"]', "categories is for a conda lock alone"),
        ('channels = ["c"]\nlock = "l.yml"', "channels has no use beside conda.lock"),
        ('lock = "l.yml"\nspecification = "s.yml"', "has specification and lock"),
    ],
)
def test_a_contradictory_conda_table_is_named(workshop: Workshop, conda: str, message: str) -> None:
    workshop.write(conda)
    with pytest.raises(InputError, match=message):
        workshop.propose()


@pytest.mark.parametrize("legacy", [False, True], ids=["paths.json", "info-files"])
@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_distributions_are_found_in_archives_of_all_ages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, legacy: bool
) -> None:
    files = {
        "lib/python3.11/site-packages/Old_Name-1.2.dist-info/METADATA": PackageFile(b"x"),
        "lib/python3.11/site-packages/older-0.9-py3.11.egg-info/PKG-INFO": PackageFile(b"x"),
        "share/other.txt": PackageFile(b"x"),
    }
    package = Package("old", depends=("python",), files=files, legacy=legacy)
    path = write_package(tmp_path / "channel", package, suffix)
    with serve(Site(files={f"/linux-64/{path.name}": path.read_bytes()})) as site:
        url = site.url(f"/linux-64/{path.name}")
        assert inspect([url])[url].distributions == (("Old_Name", "1.2"), ("older", "0.9"))
        with pytest.raises(UnavailableError, match="404"):
            inspect([site.url("/linux-64/absent-1-0.conda")])


def test_the_packages_of_a_channel_on_disk_are_opened_too(
    workshop: Workshop, made_channel: Channel, offline_pip: Path
) -> None:
    write_wheel(offline_pip, "alpha", requires=["numpy"])
    workshop.write(f'channels = ["{made_channel.folder.as_uri()}"]\npackages = ["numpy"]', '["alpha"]')
    assert packages(workshop.propose().lock, "wheel") == {"alpha": "1.0"}
