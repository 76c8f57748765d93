"""The engine without a daemon: user, mount, pid, net, ipc and uts namespaces of the kernel, made by an own helper."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from reprise.engine import namespace_init
from reprise.engine.flat_copy import flat_copy, flat_copy_meanwhile, flat_folder
from reprise.engine.interface import GRACE_SECONDS, ImageRef, OnLine, RunFolders
from reprise.engine.signals import passing_signals
from reprise.engine.unpack import unpack_layers, unpacked_folder
from reprise.events import OnEvent, ignore
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import SystemFailureError

PAGE_BYTES = 4096
"""What mount(2) reads of its options."""

NAME_RESOLUTION = {"etc/resolv.conf": Path("/etc/resolv.conf"), "etc/hosts": Path("/etc/hosts")}
"""Where a run with a network sees files of the host, which say how names are looked up (resolv.conf(5), hosts(5))."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `namespace_init` does, in its words. `mounts` are (source, point relative to the root, writable).

    `flat` is the image's flat copy, which becomes the root; where it is empty, the root is an overlay of the layers.
    `network` leaves the run in the caller's network namespace. `run_folders` are the folders of a /run in memory that
    takes the place of the image's; where there are none, /run stays the image's.
    """

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    user: tuple[int, int]
    folder: str
    layers_folder: str
    layers: tuple[str, ...]
    mounts: tuple[tuple[str, str, bool], ...]
    flat: str = ""
    user_namespace: bool = True
    network: bool = False
    run_folders: tuple[str, ...] = ()
    root: str = ""


@dataclass(frozen=True, slots=True)
class _Failure:
    """What the helper could not do."""

    step: str
    errno: int
    what: str
    call: str

    @property
    def of_user_namespace(self) -> bool:
        return self.step == "namespaces"

    @property
    def of_overlay(self) -> bool:
        return self.call.startswith("mount overlay ")


class NoOverlayError(SystemFailureError):
    """The system mounts no overlay of these layers: its kernel, or the file system that they are on."""


class NamespacesEngine:
    """See `interface.Engine`. With `network` a run is on the caller's own network."""

    def __init__(self, *, network: bool = False) -> None:
        self._network = network

    def run(
        self,
        image: ImageRef,
        folders: RunFolders,
        *,
        on_line: OnLine,
        on_error_line: OnLine,
        on_event: OnEvent = ignore,
    ) -> int:
        """See `interface.Engine.run`."""
        plan = make_plan(image, folders, on_event, network=self._network)
        if not plan.flat:
            with flat_copy_meanwhile(image, plan.layers), suppress(NoOverlayError):
                return run_plan(plan, on_line=on_line, on_error_line=on_error_line)
            plan = replace(plan, flat=str(flat_copy(image, plan.layers).resolve()))
        return run_plan(plan, on_line=on_line, on_error_line=on_error_line)


def make_plan(image: ImageRef, folders: RunFolders, on_event: OnEvent = ignore, *, network: bool = False) -> Plan:
    """Unpack what is missing, and say how the image is to be run."""
    process = image.process()
    names = tuple(unpack_layers(image.store, image.layers(), on_event=on_event))
    if sum(len(name) + 1 for name in names) + len("lowerdir=") >= PAGE_BYTES:
        flat_copy(image, names)
    flat = flat_folder(image)
    return Plan(
        arguments=process.arguments,
        environment=process.environment,
        user=process.user,
        folder=process.folder,
        layers_folder=str(unpacked_folder(image.store).resolve()),
        layers=names,
        flat=str(flat.resolve()) if flat.is_dir() else "",
        mounts=(
            (str(folders.launch.resolve()), "run/reprise", False),
            (str(folders.data.resolve()), "data", False),
            (str(folders.output.resolve()), "output", True),
            *([(str(folders.secrets.resolve()), "run/secrets", False)] if folders.secrets else []),
            *(_name_resolution() if network else ()),
        ),
        network=network,
        run_folders=("reprise", "secrets") if folders.secrets else (),  # images have no folder for secrets
    )


def _name_resolution() -> Iterator[tuple[str, str, bool]]:
    """The host's files that say where names are looked up, as mounts; those that it has."""
    for point, path in NAME_RESOLUTION.items():
        if path.is_file():
            yield str(path.resolve()), point, False


def run_plan(plan: Plan, *, on_line: OnLine, on_error_line: OnLine) -> int:
    """Run a plan; where the system has no user namespaces, do without them.

    Raises:
        NoOverlayError: the root is an overlay, and can't be mounted.
        SystemFailureError: it does not work without either.
    """
    with _held(plan):
        result = _attempt(plan, on_line, on_error_line)
        if isinstance(result, _Failure) and result.of_user_namespace and os.geteuid() == 0:
            plan = replace(plan, user_namespace=False)  # root may make the others without one
            result = _attempt(plan, on_line, on_error_line)
    if isinstance(result, _Failure):
        raise _system_failure(result)
    return result


@contextmanager
def _held(plan: Plan) -> Iterator[None]:
    """Shared locks on the folders that the run sees, so that `reprise prune` leaves them until it ends."""
    folders = [plan.flat] if plan.flat else [f"{plan.layers_folder}/{name}" for name in plan.layers]
    with ExitStack() as stack:
        for folder in folders:
            try:
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                stack.callback(os.close, descriptor)
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                if not os.path.samestat(os.fstat(descriptor), Path(folder).stat()):  # another may be there by now
                    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            except OSError as error:
                raise SystemFailureError(
                    f"the unpacked image {folder} cannot be used: {error.strerror}",
                    hint="Where `reprise prune` has just removed it, run the command again: it is unpacked anew.",
                ) from error
        yield


def _attempt(plan: Plan, on_line: OnLine, on_error_line: OnLine) -> int | _Failure:
    with _mount_point() as root:
        reader, writer = os.pipe()
        document = {**asdict(replace(plan, root=str(root))), "status": writer, "parent": os.getpid()}
        try:
            helper = _start_helper(document, writer)
        finally:
            os.close(writer)
        with os.fdopen(reader, "rb") as status, helper:
            try:
                return _follow(helper, status, on_line, on_error_line)
            except BaseException:
                _end(helper)
                raise


def _start_helper(document: dict[str, Any], writer: int) -> subprocess.Popen[bytes]:
    helper = subprocess.Popen(
        [sys.executable, "-I", namespace_init.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[writer],
        start_new_session=True,  # the terminal's Ctrl-C comes to us alone, and we pass it on
    )
    assert helper.stdin
    helper.stdin.write(json.dumps(document).encode())
    helper.stdin.close()
    return helper


def _follow(
    helper: subprocess.Popen[bytes], status: IO[bytes], on_line: OnLine, on_error_line: OnLine
) -> int | _Failure:
    assert helper.stdout and helper.stderr
    errors = threading.Thread(target=_pass_all_lines, args=(helper.stderr, on_error_line), daemon=True)
    errors.start()
    report = status.read()
    if report:
        helper.wait()
        errors.join()
        return _Failure(**json.loads(report))
    with passing_signals(lambda: helper.send_signal(signal.SIGTERM)):
        _pass_lines(helper.stdout, on_line)
        errors.join()
        code = helper.wait()
    return code if code >= 0 else 128 - code


def _pass_lines(stream: IO[bytes], on_line: OnLine) -> None:
    for line in stream:
        on_line(line.decode("utf-8", "replace").rstrip("\n"))


def _pass_all_lines(stream: IO[bytes], on_line: OnLine) -> None:
    """As above, in a thread: when nobody wants the lines any more, read on, or the run would wait for ever."""
    with suppress(Exception):
        _pass_lines(stream, on_line)
    for _ in stream:
        pass


def _end(helper: subprocess.Popen[bytes]) -> None:
    """Interrupt the run, and kill it if it does not end in time."""
    helper.send_signal(signal.SIGINT)
    try:
        helper.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        helper.kill()  # its children die with it


@contextmanager
def _mount_point() -> Iterator[Path]:
    """An empty folder to mount on; nothing is ever seen mounted there outside the helper's namespace."""
    try:
        root = Path(tempfile.mkdtemp(prefix="reprise-root-"))
    except OSError as error:
        raise storage_error(error, Path(tempfile.gettempdir())) from error
    try:
        yield root
    finally:
        root.rmdir()


def _system_failure(failure: _Failure) -> SystemFailureError:
    kind = NoOverlayError if failure.of_overlay else SystemFailureError
    return kind(
        f"the engine `namespaces` can't start a run here: {failure.call or failure.step}: {failure.what}",
        hint=_hint(failure),
    )


def _hint(failure: _Failure) -> str:
    """What to do, by the system's own switches."""
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" and os.geteuid() != 0:
        return (
            "AppArmor denies user namespaces to programs without a profile (Ubuntu 23.10 and later). Either run\n"
            "  sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0\n"
            "or use another engine: --engine docker"
        )
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "Run `sudo sysctl kernel.unprivileged_userns_clone=1`, or use another engine: --engine docker"
    if _sysctl("user/max_user_namespaces") == "0":
        return "Run `sudo sysctl user.max_user_namespaces=10000`, or use another engine: --engine docker"
    if failure.errno in (errno.EPERM, errno.EACCES):
        return (
            "Inside a container this needs its runtime's leave (podman and docker: --privileged); else --engine docker"
        )
    return "Use another engine: --engine docker"


def _sysctl(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""
