"""What a run used, on which machine, on which network: read from the kernel, put in the record, never compared."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import resource
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path

from reprise_trainer.cpuinfo import read_cpuinfo

_START_TIME_FIELD = 22
"""The field of /proc/self/stat, counted from 1, with the process's start in clock ticks since boot (proc(5))."""

_SIOCGIFFLAGS, _IFF_UP, _IFF_LOOPBACK = 0x8913, 0x1, 0x8


def process_times(stat: Path = Path("/proc/self/stat")) -> tuple[float, float]:
    """Seconds since this process started, and CPU seconds that it used so far with all its threads.

    The kernel counts from the process's first start, so the start again under a profile is in both.
    """
    fields = stat.read_text().rpartition(")")[2].split()  # the name before may hold spaces; field 3 comes first here
    started = int(fields[_START_TIME_FIELD - 3]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started, time.process_time()


def peak_memory() -> int:
    """The largest resident set of this process so far, bytes (Linux counts it in KiB, getrusage(2))."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, str | int]:
    """CPU model and maker, digest of its sorted flags, kernel release, and the cores this process may use."""
    info = read_cpuinfo()
    flags = " ".join(sorted(info.get("flags", "").split()))
    return {
        "cpu_model": info.get("model name", ""),
        "cpu_maker": info.get("vendor_id", ""),
        "cpu_flags": "sha256:" + hashlib.sha256(flags.encode()).hexdigest(),
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
    }


def interfaces() -> tuple[str, ...]:
    """The network interfaces that are up where this process runs, but for loopback ones; none where it has no network.

    Asked of this process's own network namespace (netdevice(7)): a /sys may be that of another one.
    """
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it has just gone
                answer = fcntl.ioctl(asked, _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
                flags = struct.unpack("16sH14x", answer)[1]
                if flags & _IFF_UP and not flags & _IFF_LOOPBACK:
                    found.append(name)
    return tuple(sorted(found))
