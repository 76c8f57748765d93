"""Is the process what the image's config says: its arguments, environment, user, and every file mapped into it?

Files alone prove little when LD_PRELOAD or PYTHONPATH put others before them. `read_process` gathers the facts,
`check_process` and `check_mappings` judge them; the mappings are judged again at the end of a run.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ADDED_BY_ENGINES: Mapping[str, re.Pattern[str]] = {
    "HOSTNAME": re.compile(r"[A-Za-z0-9._-]*"),
    "HOME": re.compile(r"/|/root"),
    "TERM": re.compile(r"[A-Za-z0-9._+-]*"),
    "container": re.compile(r"podman|docker|oci"),
    "NVIDIA_VISIBLE_DEVICES": re.compile(r"[A-Za-z0-9,:./-]*"),
    "NVIDIA_DRIVER_CAPABILITIES": re.compile(r"[a-z0-9,]*"),
}
"""What docker and podman set by themselves (tried: dockerd 20.10, podman 4.3; for GPUs dockerd's nvidia_linux.go), and
the values that these may have."""

ADDED_BY_LAUNCHERS = tuple(
    (re.compile(name), re.compile(value))
    for name, value in (
        (r"((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|MASTER_PORT", r"[0-9]+"),
        (r"MASTER_ADDR|ROLE_NAME|TORCHELASTIC_RUN_ID", r"[A-Za-z0-9._:-]*"),
        (r"TORCHELASTIC_(RESTART_COUNT|MAX_RESTARTS)|TORCH_NCCL_ASYNC_ERROR_HANDLING", r"[0-9]+"),
        (r"TORCHELASTIC_USE_AGENT_STORE", r"True|False"),
        (r"TORCHELASTIC_ERROR_FILE", r"/tmp/[A-Za-z0-9._/-]*"),
        (r"SLURMD?_[A-Z0-9_]+", r"[^\n]*"),
    )
)
"""What torchrun and srun set for their workers: who is who, and where they meet. No code is loaded by it."""

CLOSURES = re.compile(r"|\[[^/]*\]|/memfd:libffi \(deleted\)")
"""Executable memory that is no file: code made at run time, the kernel's own, libffi's callbacks."""

ANONYMOUS = re.compile(r"|\[[^/]*\]|/dev/zero( \(deleted\))?|/memfd:.*|/SYSV[0-9a-f]{8} \(deleted\)|anon_inode:.*")
"""Memory that is no file (proc(5), maps; shm_open and memfd_create for what processes share)."""

DEVICES = re.compile(r"/dev/nvidia(ctl|-uvm|-uvm-tools|\d+)")
"""Memory of a GPU, and the driver's registers."""

DATA_FOLDERS = ("/data/", "/output/", "/tmp/", "/var/tmp/", "/dev/shm/")
"""Where a run's own files are: they may be mapped, but never executed."""


@dataclass(frozen=True, slots=True)
class MappedFile:
    """One area of the process's memory. `path` is what the kernel calls it, empty for anonymous memory."""

    path: str
    executable: bool


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What a process is running with.

    `environment` holds (name, value) pairs: both those that the kernel started the process with and those that it has
    now, so that a change by either side shows. `modules` are the files of the imported Python modules.
    """

    arguments: tuple[str, ...]
    environment: frozenset[tuple[str, str]]
    user: tuple[int, int]
    isolated: bool
    mapped: frozenset[MappedFile]
    modules: frozenset[str]


def read_process() -> ProcessFacts:
    """The facts about this process, from the kernel where it knows them (/proc/self) and from Python."""
    started_with = [pair.partition("=") for pair in _zero_separated("/proc/self/environ")]
    return ProcessFacts(
        arguments=tuple(_zero_separated("/proc/self/cmdline")),
        environment=frozenset({(name, value) for name, _, value in started_with} | set(os.environ.items())),
        user=(os.getuid(), os.getgid()),
        isolated=bool(sys.flags.isolated),
        mapped=read_mappings(),
        modules=read_modules(),
    )


def read_mappings(maps: Path = Path("/proc/self/maps")) -> frozenset[MappedFile]:
    """What is mapped into this process now (proc(5): address perms offset dev inode path).

    Of a path's characters, line feeds alone are escaped.
    """
    lines = maps.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    fields = [line.split(maxsplit=5) for line in lines if line]
    return frozenset(MappedFile(each[5] if len(each) > 5 else "", "x" in each[1]) for each in fields)


def read_modules() -> frozenset[str]:
    """The files that the imported Python modules came from.

    Modules without one are built in or frozen. A relative path was never given by the import system (torch.ops calls
    itself `_ops.py`), so it says nothing.
    """
    found = set()
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        origin = getattr(module, "__file__", None) or (spec.origin if spec and spec.has_location else None)
        if isinstance(origin, str) and origin.startswith("/"):
            found.add(origin)
    return frozenset(found)


def check_process(
    facts: ProcessFacts, config: Mapping[str, Any], switches: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """What the process has that the image's config does not say, one sentence each; empty if nothing.

    Args:
        facts: see `read_process`.
        config: the OCI image config's `config` object: Env, Entrypoint, Cmd, User (image spec v1.1, config.md).
        switches: further environment variables that must have exactly these values: the profile's.
    """
    problems = []
    if not facts.isolated:
        problems.append("python: runs without -I, so that PYTHONPATH and the current folder reach sys.path")
    expected = (*config.get("Entrypoint", ()), *config.get("Cmd", ()))
    if facts.arguments != expected:
        problems.append(f"arguments: expected {' '.join(expected)!r}, found {' '.join(facts.arguments)!r}")
    user = tuple(int(part) for part in str(config.get("User", "0:0")).split(":"))
    if facts.user != user:
        problems.append(f"user: expected {user[0]}:{user[1]}, found {facts.user[0]}:{facts.user[1]}")
    return (*problems, *_check_environment(facts.environment, config.get("Env", ()), switches or {}))


def _check_environment(
    environment: Collection[tuple[str, str]], config: Sequence[str], switches: Mapping[str, str]
) -> list[str]:
    fixed = {**{name: value for name, _, value in (pair.partition("=") for pair in config)}, **switches}
    problems = []
    for name, value in sorted(environment):
        if name in fixed:
            if value != fixed[name]:
                problems.append(f"environment: {name} is {value!r}, the image says {fixed[name]!r}")
        elif any(known.fullmatch(name) and form.fullmatch(value) for known, form in ADDED_BY_LAUNCHERS):
            continue
        elif name not in ADDED_BY_ENGINES:
            problems.append(f"environment: {name}={_short(value)} is set; {_why_not(name)}")
        elif not ADDED_BY_ENGINES[name].fullmatch(value):
            problems.append(f"environment: {name} has the value {value!r}, which no engine gives it")
    names = {name for name, _ in environment}
    problems += [f"environment: {name} is not set, the image says {fixed[name]!r}" for name in fixed.keys() - names]
    return problems


def _why_not(name: str) -> str:
    if name.startswith("LD_"):
        return "it changes which libraries are loaded"
    if name.startswith("PYTHON"):
        return "it changes what Python imports or how it runs"
    return "the image does not say so"


def check_mappings(
    mapped: Collection[MappedFile],
    modules: Collection[str],
    listed: Collection[str],
    own: Collection[str] = (),
) -> tuple[str, ...]:
    """Files that are mapped or imported and that no layer lists, one sentence each; empty if there are none.

    Args:
        mapped: see `read_mappings`.
        modules: see `read_modules`.
        listed: paths of the layers' lists, relative to the root.
        own: paths of the run's own modules, relative to the root; they may be imported and never mapped.
    """
    problems = {
        f"{area.path}: mapped into the process{' as code' if area.executable else ''}, and no layer lists it"
        for area in mapped
        if not _may_be_mapped(area, listed)
    }
    problems |= {
        f"{path}: imported as a Python module, and no layer lists it"
        for path in modules
        if (real := os.path.realpath(path).lstrip("/")) not in listed and real not in own
    }
    return tuple(sorted(problems))


def _may_be_mapped(area: MappedFile, listed: Collection[str]) -> bool:
    if area.path.startswith("/") and area.path[1:] in listed:
        return True
    if area.executable:
        return CLOSURES.fullmatch(area.path) is not None
    return bool(ANONYMOUS.fullmatch(area.path) or DEVICES.fullmatch(area.path)) or area.path.startswith(DATA_FOLDERS)


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "…")


def _zero_separated(path: str) -> list[str]:
    return Path(path).read_text("utf-8", "surrogateescape").split("\0")[:-1]
