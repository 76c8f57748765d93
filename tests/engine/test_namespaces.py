"""The engine without a daemon, where something is lacking: privilege, hard links, overlays; with 60 layers and 73."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from small_image import Entry, base_entries, make_image, python_entries, trainer_entries

import reprise
from reprise.engine import namespaces
from reprise.engine.flat_copy import flat_copy, flat_folder
from reprise.engine.interface import ImageRef
from reprise.engine.namespaces import NamespacesEngine, NoOverlayError, Plan, _Failure, _held, make_plan, run_plan
from reprise.engine.unpack import only_unpacker, unpack_layers, unpacked_folder
from reprise.store import Store
from reprise_trainer.errors import SystemFailureError

NOBODY = 65534
MEASURE = """
from reprise_trainer.identity.start import verify_identity
print(verify_identity().digest)
"""


def _run(bench, plan: Plan) -> list[str]:
    lines: list[str] = []
    assert run_plan(plan, on_line=lines.append, on_error_line=lines.append) == 0, lines
    return lines


@pytest.fixture
def plan(bench) -> Plan:
    """As for a second run of the image."""
    bench.program(MEASURE)
    flat_copy(bench.ref, unpack_layers(bench.image.store, bench.ref.layers()))
    return make_plan(bench.ref, bench.folders)


def _start(bench, image: ImageRef) -> list[str]:
    lines: list[str] = []
    code = NamespacesEngine().run(image, bench.folders, on_line=lines.append, on_error_line=lines.append)
    assert code == 0, lines
    return lines


def test_one_folder_measures_as_an_overlay_of_the_layers_does(bench, plan: Plan) -> None:
    assert plan.flat == str(flat_folder(bench.ref).resolve())
    assert _run(bench, replace(plan, flat="")) == _run(bench, plan) == [bench.image.digest]


@pytest.fixture
def new(bench) -> ImageRef:
    """An image that was never run, whose program measures it."""
    bench.program(MEASURE)
    shutil.rmtree(flat_folder(bench.ref), ignore_errors=True)
    return bench.ref


def test_the_first_run_is_on_the_layers_and_the_next_on_the_copy_that_it_leaves(bench, new: ImageRef) -> None:
    assert make_plan(new, bench.folders).flat == ""
    assert _start(bench, new) == [new.digest]
    assert make_plan(new, bench.folders).flat == str(flat_folder(new).resolve())
    assert _start(bench, new) == [new.digest]


def test_a_run_does_without_a_copy_while_somebody_else_unpacks(bench, new: ImageRef) -> None:
    make_plan(new, bench.folders)
    with only_unpacker(unpacked_folder(new.store)):
        assert _start(bench, new) == [new.digest]
    assert not flat_folder(new).exists()


def test_where_no_hard_link_can_be_made_each_run_is_on_the_layers(
    bench, new: ImageRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_link)
    assert _start(bench, new) == _start(bench, new) == [new.digest]
    assert not [path for path in unpacked_folder(new.store).iterdir() if path.name.startswith((".part", "image"))]


def test_where_no_overlay_can_be_mounted_the_first_run_waits_for_the_copy(bench, new: ImageRef, tmp_path: Path) -> None:
    """Overlayfs refuses layers that are themselves on an overlay of an overlay."""
    with ExitStack() as stack:
        place = tmp_path / "disk"
        place.mkdir()
        for depth in range(2):
            upper, work, point = (tmp_path / f"{name}-{depth}" for name in ("upper", "work", "point"))
            for each in (upper, work, point):
                each.mkdir()
            options = f"lowerdir={place},upperdir={upper},workdir={work}"
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(point)], check=True)
            stack.callback(subprocess.run, ["umount", str(point)], check=True)
            place = point
        shutil.copytree(new.store.root, place / "store", symlinks=True, ignore=shutil.ignore_patterns("cache"))
        image = ImageRef(Store.open(place / "store"), new.digest)
        with pytest.raises(NoOverlayError, match=r"mount overlay on .*: Invalid argument"):
            run_plan(make_plan(image, bench.folders), on_line=print, on_error_line=print)
        assert _start(bench, image) == [image.digest]
        assert flat_folder(image).is_dir()


@pytest.mark.parametrize("kind", ["flat", "overlay"])
def test_a_run_holds_what_it_runs_on_until_it_ends(bench, plan: Plan, kind: str) -> None:
    plan = plan if kind == "flat" else replace(plan, flat="")
    root = Path(plan.flat or f"{plan.layers_folder}/{plan.layers[0]}")
    during: list[bool] = []

    def is_free() -> bool:
        descriptor = os.open(root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)

    assert run_plan(plan, on_line=lambda line: during.append(is_free()), on_error_line=print) == 0
    assert during == [False] and is_free()


def test_a_run_whose_root_is_removed_before_it_can_hold_it_says_so(tmp_path: Path, plan: Plan) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with ThreadPoolExecutor(1) as pool:
        removing = os.open(root, os.O_RDONLY)
        fcntl.flock(removing, fcntl.LOCK_EX)

        def begin() -> None:
            with _held(replace(plan, flat=str(root))):
                pass

        began = pool.submit(begin)
        with pytest.raises(TimeoutError):
            began.result(0.5)  # it waits for the lock
        root.rename(tmp_path / "aside")
        root.mkdir()
        os.close(removing)
        with pytest.raises(SystemFailureError, match=f"{root} cannot be used"):
            began.result()


def test_a_run_whose_root_was_removed_says_so(plan: Plan) -> None:
    with pytest.raises(SystemFailureError, match="cannot be used: No such file"):
        run_plan(replace(plan, flat=f"{plan.flat}0"), on_line=print, on_error_line=print)


def test_root_can_do_without_user_namespaces(bench, plan: Plan) -> None:
    bench.program(MEASURE + "\nprint(Path('/proc/self/status').read_text().split('CapBnd:')[1].split()[0])")
    assert _run(bench, replace(plan, user_namespace=False)) == [bench.image.digest, 16 * "0"]


@pytest.mark.parametrize("network", [False, True])
def test_a_user_without_privilege_runs_the_same_image(bench, network: bool) -> None:
    bench.program(f"{MEASURE}\nimport socket\nprint(len(socket.if_nameindex()))")
    home = Path(tempfile.mkdtemp(prefix="reprise-test-user-"))
    try:
        shutil.copytree(bench.image.store.root, home / "store", symlinks=True, ignore=shutil.ignore_patterns("cache"))
        (home / "store/cache").mkdir()
        shutil.copytree(bench.folders.launch, home / "launch")
        for name in ("data", "output", "tmp"):
            (home / name).mkdir()
        for path in (home, *home.rglob("*")):
            os.lchown(path, NOBODY, NOBODY)
        result = _run_as_nobody(bench, home, network)
    finally:
        shutil.rmtree(home)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [bench.image.digest, str(len(socket.if_nameindex()) if network else 1)]


def _run_as_nobody(bench, home: Path, network: bool) -> subprocess.CompletedProcess[str]:
    """The engine in a process of another user, with what Python needs put where that user can read it."""
    import platformdirs
    import zstandard

    import reprise_trainer

    site = home / "site"
    for module in (reprise, reprise_trainer, zstandard, platformdirs):
        source = Path(str(module.__file__)).parent
        shutil.copytree(source, site / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    python = home / "python"
    for path, entry in {**base_entries(), **python_entries()}.items():
        if entry.data is not None:
            (python / path).parent.mkdir(parents=True, exist_ok=True)
            (python / path).write_bytes(entry.data)
            (python / path).chmod(entry.mode)
    program = f"""
import sys; sys.path.insert(0, {str(site)!r})
from pathlib import Path
from reprise.engine.choose import run
from reprise.engine.interface import ImageRef, RunFolders
from reprise.store import Store
home = Path({str(home)!r})
folders = RunFolders(home / "launch", home / "data", home / "output")
image = ImageRef(Store(home / "store"), {bench.image.digest!r})
raise SystemExit(run("namespaces", image, folders, on_line=lambda line: print(line, flush=True), network={network}))
"""
    interpreter = next((python / "usr/bin").glob("python3*"))
    return subprocess.run(
        [str(interpreter), "-I", "-c", program],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=home,
        env={"TMPDIR": str(home / "tmp"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("user_namespace", [True, False])
@pytest.mark.parametrize("kind", ["flat", "overlay"])
def test_secrets_are_seen_in_a_run_folder_in_memory_that_can_not_be_written(
    bench, plan: Plan, kind: str, user_namespace: bool
) -> None:
    secrets = bench.folders.output.parent / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "token").write_text("x")
    plan = make_plan(bench.ref, replace(bench.folders, secrets=secrets))
    plan = replace(plan, user_namespace=user_namespace, flat=plan.flat if kind == "flat" else "")
    bench.program(f"""{MEASURE}
print(sorted(os.listdir('/run')), os.listdir('/run/secrets'))
try: Path('/run/x').mkdir()
except OSError as error: print(error.errno)
""")
    assert _run(bench, plan) == [bench.image.digest, "['reprise', 'secrets'] ['token']", str(errno.EROFS)]


SURROUNDINGS = """
import socket
from reprise_trainer.identity.start import verify_identity
print(verify_identity().digest)
print(sorted(name for _, name in socket.if_nameindex()))
print(sorted(os.listdir("/sys/class/net")), os.listdir("/sys/fs/cgroup"))
for place in ("/etc/resolv.conf", "/etc/hosts"):
    print(repr(Path(place).read_text()))
    try: open(place, "r+")
    except OSError as error: print(error.errno)
"""


def test_with_a_network_a_run_sees_its_interfaces_and_the_files_for_names_and_none_of_the_hosts_settings(
    bench, plan: Plan
) -> None:
    bench.program(SURROUNDINGS)
    plan = make_plan(bench.ref, bench.folders, network=True)
    names = sorted(name for _, name in socket.if_nameindex())
    files = [repr(path.read_text()) for path in namespaces.NAME_RESOLUTION.values()]
    expected = [bench.image.digest, str(names), "[] []", files[0], "30", files[1], "30"]
    assert _run(bench, plan) == _run(bench, replace(plan, user_namespace=False)) == expected


def test_with_a_network_files_for_names_that_the_host_lacks_are_left_out(
    bench, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stub").write_text("nameserver 192.0.2.1\n")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").symlink_to(tmp_path / "stub")  # as a resolver of the host's own leaves it
    monkeypatch.setattr(
        namespaces, "NAME_RESOLUTION", {"etc/resolv.conf": tmp_path / "etc/resolv.conf", "etc/hosts": tmp_path / "none"}
    )
    bench.program("print(Path('/etc/resolv.conf').read_text(), Path('/etc/hosts').read_text())")
    assert _run(bench, make_plan(bench.ref, bench.folders, network=True)) == ["nameserver 192.0.2.1", " "]


def test_a_failing_listener_to_errors_does_not_stop_the_run(bench, plan: Plan) -> None:
    def fail(line: str) -> None:
        raise BrokenPipeError

    bench.program("for n in range(20000): print('x' * 50, file=sys.stderr)")
    assert run_plan(plan, on_line=print, on_error_line=fail) == 0


def test_sixty_layers_are_one_root(bench) -> None:
    small = {f"layer-{number:02}": {f"opt/file-{number:02}": Entry(b"x")} for number in range(56)}
    layers = {"base": base_entries(), "python": python_entries(), "trainer": trainer_entries(), **small}
    made = make_image(bench.image.store, layers, tag="sixty")
    assert len(made.inventory.layers) + 1 == 60
    bench.program("from reprise_trainer.identity.measure import measure\nprint(len(os.listdir('/opt')))")
    image = ImageRef(made.store, made.digest)
    lines: list[str] = []
    assert run_plan(make_plan(image, bench.folders), on_line=lines.append, on_error_line=print) == 0
    assert lines == ["56"]


def test_more_layers_than_an_overlay_takes_are_one_folder(bench) -> None:
    small = {f"layer-{number:02}": {f"opt/file-{number:02}": Entry(b"x")} for number in range(70)}
    layers = {"base": base_entries(), "python": python_entries(), "trainer": trainer_entries(), **small}
    made = make_image(bench.image.store, layers, tag="seventy")
    bench.program("print(len(os.listdir('/opt')))")
    assert _start(bench, ImageRef(made.store, made.digest)) == ["70"]


def test_a_command_that_is_not_in_the_image_is_a_failure_with_its_name(bench, plan: Plan) -> None:
    with pytest.raises(SystemFailureError, match=r"/usr/bin/not-there: No such file or directory"):
        run_plan(replace(plan, arguments=("/usr/bin/not-there",)), on_line=print, on_error_line=print)


def test_a_folder_that_can_not_be_mounted_is_named(bench, plan: Plan) -> None:
    mounts = (("/not/there", "data", False),)
    with pytest.raises(SystemFailureError, match=r"mount /not/there on .*/data: No such file or directory"):
        run_plan(replace(plan, mounts=mounts), on_line=print, on_error_line=print)


@pytest.mark.parametrize(
    ("switches", "advice"),
    [
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"kernel/unprivileged_userns_clone": "0"}, "sysctl kernel.unprivileged_userns_clone=1"),
        ({"user/max_user_namespaces": "0"}, "sysctl user.max_user_namespaces=10000"),
        ({}, "--privileged"),
    ],
)
def test_each_system_that_denies_namespaces_gets_its_own_advice(
    switches: dict[str, str], advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(namespaces, "_sysctl", lambda name: switches.get(name, ""))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    failure = _Failure("namespaces", errno.EPERM, "Operation not permitted", "unshare")
    error = namespaces._system_failure(failure)
    assert error.exit_code == 71
    assert "unshare: Operation not permitted" in error.message
    assert advice in error.hint
    assert "--engine docker" in error.hint


def test_namespaces_that_the_kernel_really_denies_are_said(bench) -> None:
    """In a user namespace whose own limit is 0, as an administrator would set it."""
    bench.program(MEASURE)
    folders = bench.folders
    program = f"""
from pathlib import Path
Path("/proc/sys/user/max_user_namespaces").write_text("0")
Path("/proc/sys/user/max_mnt_namespaces").write_text("0")
from reprise.engine.choose import run
from reprise.engine.interface import ImageRef, RunFolders
from reprise.store import Store
folders = RunFolders(Path({str(folders.launch)!r}), Path({str(folders.data)!r}), Path({str(folders.output)!r}))
image = ImageRef(Store(Path({str(bench.image.store.root)!r})), {bench.image.digest!r})
run("namespaces", image, folders, on_line=print)
"""
    command = ["unshare", "--user", "--map-root-user", sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "the engine `namespaces` can't start a run here: unshare: No space left on device" in result.stderr
    assert "sysctl user.max_user_namespaces" in result.stderr
