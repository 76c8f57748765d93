"""Writes down what a process sees of its surroundings, and then becomes another program: the build.

    python witness.py REPORT STORE LISTED -- PROGRAM ARGUMENT…

It is the same process before and after, so what it saw (user, umask, CPUs, clock, host name) the build sees.
Standard library alone, and no import of the project: it runs under every interpreter that a test tries.
"""

import json
import locale
import os
import sys
import time
from pathlib import Path


def surroundings(store: str, listed: str) -> dict[str, object]:
    """What could leak into bytes. `store` and `listed` are folders: one's file system, the other's order is told."""
    umask = os.umask(0)
    os.umask(umask)
    network = Path("/proc/self/net/dev").read_text().splitlines()
    return {
        "umask": umask,
        "uid": os.getuid(),
        "cwd": str(Path.cwd()),
        "home": os.environ.get("HOME", ""),
        "environment": dict(os.environ),
        "encodings": [sys.getfilesystemencoding(), locale.getpreferredencoding(False)],
        "utc_offset": -time.timezone,
        "time": time.time(),
        "hostname": os.uname().nodename,
        "cpus": len(os.sched_getaffinity(0)),
        "hash": hash("reprise"),
        "python": list(sys.version_info[:2]),
        "randomized_addresses": not int(Path("/proc/self/personality").read_text(), 16) & 0x0040000,
        "file_system": file_system(store),
        "listing": [path.name for path in Path(listed).iterdir()],
        "in_docker": os.getpid() == 1 and Path("/.dockerenv").exists(),
        "network": sorted(line.split(":")[0].strip() for line in network if ":" in line),
    }


def file_system(folder: str) -> str:
    """The type of the mount that `folder` is on (proc_pid_mounts(5): spaces are written as \\040)."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    points = [(point.replace("\\040", " ").rstrip("/"), kind) for _, point, kind, *_ in mounts]
    return max((each for each in points if f"{folder}/".startswith(f"{each[0]}/")), key=lambda each: len(each[0]))[1]


if __name__ == "__main__":
    report, store, listed, dashes, *command = sys.argv[1:]
    assert dashes == "--", sys.argv
    Path(report).write_text(json.dumps(surroundings(store, listed)))
    os.execvp(command[0], command)
