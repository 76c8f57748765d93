"""The inside of the `namespaces` engine: makes the namespaces and the root, then becomes the image's command.

Run as a script of its own in a fresh, isolated Python, so that nothing of the caller is changed or inherited. Standard
library alone. It reads its plan (JSON) from standard input, and says on descriptor `status` what failed, as JSON; a
closed, empty `status` means that the command has started.

Sources: unshare(2), user_namespaces(7), mount(2), pivot_root(2), capabilities(7), prctl(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 1, 38, 24, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

READ_ONLY_IN_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""What runc and crun make read-only by default (the OCI runtime spec's `readonlyPaths`)."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.syscall.restype = ctypes.c_long


def main() -> NoReturn:
    """Read the plan, make the namespaces, run the command, and exit as it did."""
    plan: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    status: int = plan["status"]
    os.set_inheritable(status, False)
    try:
        _die_with_parent(plan["parent"])
        _enter_namespaces(plan)
    except OSError as error:
        _fail(status, "namespaces", error)
    child = os.fork()  # the first process of the new pid namespace: its end ends all others
    if child == 0:
        _init(plan, status)
    os.close(status)
    _exit_like(_wait_forwarding(child))


def _enter_namespaces(plan: dict[str, Any]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    kinds = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | (0 if plan["network"] else CLONE_NEWNET)
    if plan["user_namespace"]:
        _call("unshare", _libc.unshare(CLONE_NEWUSER | kinds))
        inner_uid, inner_gid = plan["user"]
        Path("/proc/self/setgroups").write_text("deny")  # user_namespaces(7): before gid_map, without privilege
        Path("/proc/self/uid_map").write_text(f"{inner_uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{inner_gid} {gid} 1")
    else:
        _call("unshare", _libc.unshare(kinds))


def _init(plan: dict[str, Any], status: int) -> NoReturn:
    """Process 1: builds the root, starts the command, passes signals on, reaps orphans."""
    try:
        _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        socket.sethostname("reprise")
        if not plan["network"]:
            _raise_loopback()
        _build_root(plan)
        child = os.fork()
        if child == 0:
            _become_command(plan)
    except OSError as error:
        _fail(status, "root", error)
    os.close(status)
    _exit_like(_wait_forwarding(child))


def _raise_loopback() -> None:
    """Bring up `lo`, which a new network namespace has down: a run's workers meet there (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        fcntl.ioctl(found, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _build_root(plan: dict[str, Any]) -> None:
    """Mount the root read-only with the run's folders, and make it `/`."""
    _mount("none", "/", "", MS_REC | MS_PRIVATE)
    root = plan["root"]
    _mount_root(plan, root)
    for point in ("tmp", "var/tmp"):
        _mount("tmpfs", f"{root}/{point}", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777")
    _mount_proc(f"{root}/proc")
    if plan["network"]:
        _in_another_network(lambda: _mount_sys(f"{root}/sys"))
    else:
        _mount_sys(f"{root}/sys")
    _mount_dev(f"{root}/dev")
    if plan["run_folders"]:
        _mount_run(f"{root}/run", plan["run_folders"])
    for source, point, writable in plan["mounts"]:
        _bind(source, f"{root}/{point}", writable=writable)
    os.chdir(root)
    _call("pivot_root", _libc.syscall(PIVOT_ROOT[os.uname().machine], b".", b"."))
    _call("umount", _libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def _mount_root(plan: dict[str, Any], root: str) -> None:
    """An overlay of the layers; or a bind of the flat copy, which must then be made read-only by itself.

    The layers are named relative to their folder: 60 absolute paths would overflow the page that mount(2) reads.
    """
    if plan["flat"]:
        _bind(plan["flat"], root, writable=False)
        return
    os.chdir(plan["layers_folder"])
    options = "lowerdir=" + ":".join(reversed(plan["layers"]))  # overlayfs: the uppermost first
    _mount("overlay", root, "overlay", MS_RDONLY | MS_NODEV, options)
    os.chdir("/")


def _mount_proc(point: str) -> None:
    """A /proc of the new process namespace; what rules the whole kernel in it is read-only, or a run that root started
    could write it: its user is the host's root, whatever capabilities it lacks."""
    _mount("proc", point, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for name in READ_ONLY_IN_PROC:
        if Path(point, name).exists():
            _bind(f"{point}/{name}", f"{point}/{name}", writable=False)


def _mount_sys(point: str) -> None:
    """A /sys of the new network namespace; else the host's; else none (a folder without it still works)."""
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    try:
        _mount("sysfs", point, "sysfs", flags | MS_RDONLY)
    except OSError:
        with suppress(OSError):
            _bind("/sys", point, writable=False)


def _in_another_network(action: Callable[[], None]) -> None:
    """Do it in a process with a network namespace of its own: only who owns one may mount a /sys, and that is then its
    own, not the host's."""
    child = os.fork()
    if child == 0:
        try:
            _call("unshare", _libc.unshare(CLONE_NEWNET))
            action()
        finally:
            os._exit(0)  # where it failed, there is none
    os.waitpid(child, 0)


def _mount_run(point: str, folders: list[str]) -> None:
    _mount("tmpfs", point, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=64k")
    for name in folders:
        Path(point, name).mkdir()
    _mount("none", point, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _mount_dev(point: str) -> None:
    _mount("tmpfs", point, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")
    for name in DEVICES:
        place = f"{point}/{name}"
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT, 0o666))
        _mount(f"/dev/{name}", place, "", MS_BIND)
    for name, target in DEVICE_LINKS.items():
        Path(point, name).symlink_to(target)
    Path(point, "shm").mkdir()
    _mount("tmpfs", f"{point}/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777")
    _mount("none", point, "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC)


def _bind(source: str, point: str, *, writable: bool) -> None:
    """Bind `source` over `point`. A remount must keep the flags of the source: a user namespace locks them."""
    _mount(source, point, "", MS_BIND | MS_REC)
    kept = os.statvfs(point).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_RELATIME)
    flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | _mount_flags(kept)
    _mount("none", point, "", flags if writable else flags | MS_RDONLY)


def _mount_flags(kept: int) -> int:
    """statvfs(3)'s flags are mount(2)'s, but for those of access times."""
    same = kept & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    return same | (1024 if kept & os.ST_NOATIME else 0) | (1 << 21 if kept & os.ST_RELATIME else 0)


def _become_command(plan: dict[str, Any]) -> NoReturn:
    _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    _drop_privileges(plan)
    os.umask(0o022)
    os.chdir(plan["folder"])
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    environment = dict(pair.split("=", 1) for pair in plan["environment"])
    os.execve(plan["arguments"][0], plan["arguments"], environment)


def _drop_privileges(plan: dict[str, Any]) -> None:
    """No capability, now or by any later exec (capabilities(7): the bounding set limits what uid 0 gets on exec)."""
    for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
        _call("prctl", _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0))
    _call("prctl", _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    if not plan["user_namespace"]:
        os.setgroups([])
        os.setresgid(*[plan["user"][1]] * 3)
        os.setresuid(*[plan["user"][0]] * 3)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    _call("capset", _libc.capset(header, (ctypes.c_uint32 * 6)()))
    _call("prctl", _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def _die_with_parent(parent: int) -> None:
    _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def _wait_forwarding(child: int) -> int:
    """Wait for `child`, passing signals on to it; reap whatever else ends meanwhile. Its wait status."""

    def forward(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    while True:
        pid, status = os.wait()
        if pid == child:
            return status


def _exit_like(status: int) -> NoReturn:
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _fail(status: int, step: str, error: OSError) -> NoReturn:
    report = {"step": step, "errno": error.errno, "what": error.strerror, "call": str(error.filename or "")}
    os.write(status, json.dumps(report).encode())
    os._exit(71)


def _mount(source: str, point: str, kind: str, flags: int, options: str = "") -> None:
    result = _libc.mount(source.encode(), point.encode(), kind.encode() or None, flags, options.encode() or None)
    _call(f"mount {kind or source} on {point}", result)


def _call(name: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


if __name__ == "__main__":
    main()
