"""Which mounts a running image may have. A mount can put any file over any path, so the list is closed.

Read from /proc/self/mountinfo (proc(5)), never from st_dev: a bind mount of the same file system has the same st_dev.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reprise_trainer.errors import SystemFailureError

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo. `point` is relative to the root ("" is the root itself); `source_root` is the folder or
    file of the file system that is mounted."""

    point: str
    source_root: str
    fs_type: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class AllowedMount:
    """Where a mount is allowed, and what it must be.

    `pattern` matches the whole mount point. `fs_types` empty means any. `needs_read_only` is for what the run only
    reads. `why` names who mounts it.
    """

    pattern: str
    fs_types: frozenset[str]
    why: str
    needs_read_only: bool = False

    def matches(self, mount: Mount) -> bool:
        return re.fullmatch(self.pattern, mount.point) is not None


def _of(*fs_types: str) -> frozenset[str]:
    return frozenset(fs_types)


_CGROUP = _of("tmpfs", "cgroup", "cgroup2")
_KERNEL = _of(
    *("sysfs", "tmpfs", "securityfs", "debugfs", "tracefs", "bpf", "pstore", "efivarfs", "selinuxfs", "fusectl"),
    *("configfs", "cgroup", "cgroup2", "ramfs", "binfmt_misc"),
)
_MASKED_PROC = "acpi|asound|interrupts|kcore|keys|latency_stats|sched_debug|scsi|timer_list|timer_stats"

ALLOWED_MOUNTS: tuple[AllowedMount, ...] = (
    AllowedMount("proc", _of("proc"), "the kernel's process information"),
    AllowedMount("proc/(bus|fs|irq|sys|sysrq-trigger)", _of("proc"), "made read-only by runc and crun"),
    AllowedMount(f"proc/({_MASKED_PROC})", _of("proc", "tmpfs", "devtmpfs"), "hidden by runc and crun"),
    AllowedMount("sys", _of("sysfs"), "the kernel's device information"),
    AllowedMount("sys/fs/cgroup(/.*)?", _CGROUP, "resource limits"),
    AllowedMount("sys/(firmware|dev/block|devices/virtual/powercap)", _of("tmpfs"), "hidden by docker and podman"),
    AllowedMount("sys/(kernel|fs|firmware)/.*", _KERNEL, "the host's /sys, where a new one can't be mounted"),
    AllowedMount("dev", _of("tmpfs", "devtmpfs"), "devices"),
    AllowedMount("dev/(null|zero|full|random|urandom|tty|console)", frozenset(), "one device each"),
    AllowedMount("dev/pts", _of("devpts"), "terminals"),
    AllowedMount("dev/mqueue", _of("mqueue"), "message queues"),
    AllowedMount("dev/shm|tmp|var/tmp|run", _of("tmpfs"), "memory for the run"),
    AllowedMount(r"etc/(hosts|hostname|resolv\.conf)", frozenset(), "written by docker and podman"),
    AllowedMount(r"run/\.containerenv", frozenset(), "written by podman"),
    AllowedMount("run/reprise", frozenset(), "the launch folder", needs_read_only=True),
    AllowedMount("run/secrets", frozenset(), "secrets for the run's own code", needs_read_only=True),
    AllowedMount("data", frozenset(), "the data snapshot", needs_read_only=True),
    AllowedMount("output", frozenset(), "what the run writes"),
)
"""Every mount that a run may have without a GPU; `driver.py` has those of NVIDIA's driver."""


def read_mounts(mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[Mount, ...]:
    """The mounts of this process, in the kernel's order.

    Raises:
        SystemFailureError: the table can't be read: /proc is not mounted.
    """
    try:
        text = mountinfo.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise SystemFailureError(f"the mounts can't be read from {mountinfo}: {error.strerror}") from error
    return tuple(_parse_line(line) for line in text.split("\n") if line)


def _parse_line(line: str) -> Mount:
    """proc(5): id parent major:minor root mount-point options [optional fields…] - type source super-options.

    The kernel escapes spaces, tabs, line feeds and backslashes in paths (fs/proc_namespace.c), and no other separator.
    """
    left, right = line.split(" - ", 1)
    _, _, _, source_root, point, options = left.split(" ")[:6]
    fs_type, _, super_options = right.split(" ")[:3]
    read_only = "ro" in options.split(",") or "ro" in super_options.split(",")
    return Mount(_unescape(point).strip("/"), _unescape(source_root), fs_type, read_only)


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)


def check_mounts(mounts: Sequence[Mount], allowed: Sequence[AllowedMount] = ALLOWED_MOUNTS) -> tuple[str, ...]:
    """What is wrong with `mounts`, one sentence each, naming the path; empty if nothing is."""
    problems: list[str] = []
    roots = [mount for mount in mounts if not mount.point]
    if not roots:
        problems.append("/: not a mount of its own; an image runs on a root of its own, mounted read-only")
    problems += ["/: the root is writable; it must be mounted read-only" for root in roots if not root.read_only]
    for mount in mounts:
        if mount.point:
            problem = _check(mount, allowed)
            if problem:
                problems.append(f"/{mount.point}: {problem}")
    return tuple(problems)


def _check(mount: Mount, allowed: Sequence[AllowedMount]) -> str:
    rules = [rule for rule in allowed if rule.matches(mount)]
    if not rules:
        return f"mounted over the image ({mount.fs_type}); only a run's own mounts are allowed"
    if not any(not rule.fs_types or mount.fs_type in rule.fs_types for rule in rules):
        expected = " or ".join(sorted(set().union(*(rule.fs_types for rule in rules))))
        return f"mounted as {mount.fs_type}, expected {expected}"
    if any(rule.needs_read_only for rule in rules) and not mount.read_only:
        return "mounted writable, expected read-only"
    return ""


def allowed_points(mounts: Sequence[Mount], allowed: Sequence[AllowedMount] = ALLOWED_MOUNTS) -> frozenset[str]:
    """The mount points that cover the image by right: what lies there is not compared with the lists."""
    return frozenset(mount.point for mount in mounts if mount.point and not _check(mount, allowed))
