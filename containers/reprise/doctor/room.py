"""Room for images and runs, and whether the clock can be right."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from reprise.doctor.finding import Finding, State

FEW_BYTES, ENOUGH_BYTES = 2 << 30, 20 << 30
"""Free bytes below which no image with PyTorch fits (1 GB beside its layers), and above which those with CUDA do."""

FEW_INODES, ENOUGH_INODES = 40_000, 200_000
"""An image with PyTorch has about 20,000 files; the folder that it runs from has as many links and folders again."""

TMP_BYTES = 64 << 20
"""What launches leave in the folder for temporary files is small; layers are never unpacked there."""

CLOCK_WARNING_SECONDS, CLOCK_PROBLEM_SECONDS = 60, 3600
"""A record's time is compared with a delegation's expiry, which is days away; an hour is an error to do away with."""


def room(store: Path) -> list[Finding]:
    """Free bytes and inodes where the store is or will be, and where temporary files go."""
    return [
        *_room("store", store, FEW_BYTES, ENOUGH_BYTES, FEW_INODES, ENOUGH_INODES),
        *_room("temporary files", Path(tempfile.gettempdir()), TMP_BYTES, TMP_BYTES, 100, 100),
    ]


def _room(what: str, path: Path, few: int, enough: int, few_inodes: int, enough_inodes: int) -> list[Finding]:
    place = next(each for each in (path.absolute(), *path.absolute().parents) if _is_there(each))
    stat = os.statvfs(place)
    free, inodes = stat.f_bavail * stat.f_frsize, stat.f_favail
    todo = f"Free some on the file system of {place}" + (
        ", or name another store: --store." if what == "store" else "."
    )
    space = _state(free, few, enough)
    found = [Finding(f"disk, {what}", space, f"{free / 1e9:,.1f} GB free at {place}", "" if space == "ok" else todo)]
    if stat.f_files:  # file systems that make inodes as they need them say 0
        files = _state(inodes, few_inodes, enough_inodes)
        said = f"{inodes:,} inodes free at {place}"
        found.append(Finding(f"inodes, {what}", files, said, "" if files == "ok" else todo))
    if not os.access(place, os.W_OK):
        found.append(Finding(f"writing, {what}", "problem", f"{place} can't be written", f"chown or chmod {place}."))
    return found


def _is_there(path: Path) -> bool:
    """Whether it exists, as far as this user may see: below a folder that is closed to them, nothing does."""
    try:
        return path.exists()
    except PermissionError:
        return False


def _state(free: int, few: int, enough: int) -> State:
    return "problem" if free < few else "warning" if free < enough else "ok"


def clock(others: float | None, files: Iterable[Path]) -> Finding:
    """This machine's clock against another's, or, without one, against files that were written before now.

    Args:
        others: seconds that another machine's clock is ahead of this one, or None.
        files: their times of last change; those that don't exist count for nothing.
    """
    todo = "Set it: `timedatectl set-ntp true`, or `date -s`."
    if others is not None:
        said = f"{abs(others):,.0f} s {'behind' if others > 0 else 'ahead of'} the registry's"
        if abs(others) < CLOCK_WARNING_SECONDS:
            return Finding("clock", "ok", said)
        return Finding("clock", "problem" if abs(others) >= CLOCK_PROBLEM_SECONDS else "warning", said, todo)
    times = {path: path.stat().st_mtime for path in files if _is_there(path)}
    newest = max(times, key=lambda path: times[path], default=None)
    if newest is not None and times[newest] - time.time() > CLOCK_WARNING_SECONDS:
        changed = datetime.fromtimestamp(times[newest], UTC)
        return Finding("clock", "problem", f"is behind: {newest} was changed at {changed:%Y-%m-%dT%H:%M:%SZ}", todo)
    return Finding("clock", "ok", "is not behind any file looked at; name a reference to ask its registry")
