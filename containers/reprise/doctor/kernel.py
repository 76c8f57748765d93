"""What the kernel lets this user do: tried in a process of its own, which ends with what it made.

Sources: user_namespaces(7), cgroups(7), seccomp(2), Linux's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from reprise.doctor.finding import Finding

_SECONDS = 20

_ENTER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0:
        number = ctypes.get_errno()
        sys.exit(os.strerror(number))
uid, gid = os.geteuid(), os.getegid()
call(libc.unshare(0x10000000 | 0x00020000))  # CLONE_NEWUSER | CLONE_NEWNS
try:
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
    open("/proc/self/gid_map", "w").write(f"0 {gid} 1")
except OSError as error:
    sys.exit(str(error))
"""

_MOUNT = """
root = sys.argv[1]
call(libc.mount(b"none", b"/", None, 16384 | 1 << 18, None))  # MS_REC | MS_PRIVATE
options = f"lowerdir={root}/upper:{root}/lower".encode()
call(libc.mount(b"overlay", f"{root}/merged".encode(), b"overlay", 1, options))  # MS_RDONLY
sys.exit(0 if sorted(os.listdir(f"{root}/merged")) == ["a", "b"] else "the mounted folder does not hold both layers")
"""

_NAMESPACES_TODO = (
    "`sysctl kernel.apparmor_restrict_unprivileged_userns kernel.unprivileged_userns_clone user.max_user_namespaces` "
    "shows what forbids it (want 0, 1, more than 0); in a container its runtime has to allow it. Or --engine docker."
)


def user_namespaces() -> Finding:
    """Whether this user can make a user namespace with mounts of its own."""
    name = "user namespaces"
    refused = _try(_ENTER)
    if refused:
        return Finding(name, "warning", f"can't be made: {refused}", _NAMESPACES_TODO)
    return Finding(name, "ok", "a namespace was made")


def overlay() -> Finding:
    """Whether an overlay of two folders can be mounted in a user namespace."""
    name = "overlayfs in user namespaces"
    with tempfile.TemporaryDirectory(prefix="reprise-doctor-") as folder:
        for path in ("lower/a", "upper/b"):
            Path(folder, path).parent.mkdir()
            Path(folder, path).touch()
        Path(folder, "merged").mkdir()
        refused = _try(_ENTER + _MOUNT, folder)
    if refused:
        todo = "Keep the store on a file system with hard links, which need no overlay; or use Linux 5.11 or later."
        return Finding(name, "warning", f"can't be mounted: {refused}", todo)
    return Finding(name, "ok", "an overlay was mounted")


def cgroups(root: Path = Path("/sys/fs/cgroup")) -> Finding:
    """Whether the unified hierarchy is mounted."""
    name = "cgroups"
    try:
        controllers = (root / "cgroup.controllers").read_text().split()
    except OSError:
        todo = "Boot with systemd.unified_cgroup_hierarchy=1 if Docker asks for version 2; `namespaces` does not."
        return Finding(name, "warning", f"version 2 is not mounted at {root}", todo)
    return Finding(name, "ok", f"version 2, with {' '.join(controllers) or 'no controllers'}")


def seccomp(actions: Path = Path("/proc/sys/kernel/seccomp/actions_avail")) -> Finding:
    """Whether the kernel filters system calls, which Docker's default profile needs."""
    name = "seccomp"
    try:
        available = actions.read_text().split()
    except OSError:
        return Finding(
            name, "warning", f"{actions} can't be read", "Docker runs without its filter of system calls here."
        )
    if "errno" not in available:
        return Finding(name, "warning", f"has only {' '.join(available)}", "Use a kernel with CONFIG_SECCOMP_FILTER.")
    return Finding(name, "ok", "filters are available")


def _try(program: str, *arguments: str) -> str:
    """What a Python program says when it fails, in its last line; empty when it succeeds."""
    command = [sys.executable, "-I", "-S", "-c", program, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer in {_SECONDS} s"
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"exit code {done.returncode}")
