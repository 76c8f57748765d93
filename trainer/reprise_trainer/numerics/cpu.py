"""Whether this CPU can keep a profile. Standard library alone."""

from __future__ import annotations

from pathlib import Path

from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.errors import SystemFailureError
from reprise_trainer.numerics.profiles import MachineClass, Profile


def require_cpu(profile: Profile, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> None:
    """Refuse a CPU that lacks what the profile needs.

    Raises:
        SystemFailureError: names the missing flags and the CPU.
    """
    info = read_cpuinfo(cpuinfo)
    missing = [flag for flag in profile.cpu_flags if flag not in info.get("flags", "").split()]
    if missing:
        raise SystemFailureError(
            f"this CPU ({info.get('model name', 'of unknown model')}) lacks {', '.join(missing)}, "
            f"which profile {profile.name!r} needs",
            hint="Use a machine that has them"
            + (', or set profile = "portable" (other bits, slower).' if profile.name != "portable" else "."),
        )


def machine_class(profile: Profile, *, cpuinfo: Path = Path("/proc/cpuinfo")) -> MachineClass | None:
    """The class of this machine among those that the profile promises something for; None if it is in none."""
    info = read_cpuinfo(cpuinfo)
    maker, flags = info.get("vendor_id", ""), set(info.get("flags", "").split())
    return next((each for each in profile.machines if each.maker in ("", maker) and flags.issuperset(each.flags)), None)
