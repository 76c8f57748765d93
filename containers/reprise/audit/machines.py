"""Could this machine give a run's bits at all? A profile promises them within a class of machines, no further.

Nothing here makes a verdict better: "not comparable here" is what an audit says in place of "different" where the
promise does not reach from the run's machine to this one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from reprise.audit.evidence import VerifiedRun
from reprise_trainer.cpuinfo import read_cpuinfo
from reprise_trainer.errors import SystemFailureError
from reprise_trainer.numerics.claims import OPEN
from reprise_trainer.numerics.cpu import machine_class, require_cpu
from reprise_trainer.numerics.profiles import PROFILES
from reprise_trainer.training.records.record import ProofFacts, RunRecord
from reprise_trainer.training.records.resources import machine

_NAMED = 8
"""Operations that a message names; the record has them all."""


def obstacle(run: VerifiedRun) -> str:
    """Why a replay here would say nothing about the run; empty where it would."""
    profile = PROFILES.get(run.record.profile.name)
    if profile is None:
        return f"profile {run.record.profile.name!r} of the run is unknown to this version"
    if not profile.reproducible:
        return f"profile {profile.name!r} promises no bits to anyone, so that a replay that differs says nothing"
    try:
        require_cpu(profile)
    except SystemFailureError as error:
        return error.message
    return ""


def doubt(run: VerifiedRun, here: ProofFacts | None) -> str:
    """Why other bits in a replay here say nothing about the run; empty where they do.

    Args:
        run: its record says what its machine computed at the start.
        here: what this machine computed at the start of the replay; None where the replayed trainer did not.
    """
    there = run.record.proof
    if there is None or here is None:
        return _other_maker(run.record)
    if differing := _differing(there.operations, here.operations, OPEN.get(run.record.backend, {})):
        named = ", ".join(differing[:_NAMED]) + (f" and {len(differing) - _NAMED} more" if differing[_NAMED:] else "")
        return (
            f"the run's machine ({_class(there)}) and this one ({_class(here)}) compute {named} differently "
            f"from equal inputs: profile {run.record.profile.name!r} promises no equal bits between them"
        )
    if there.machine != here.machine:
        return (
            f"the run was on a machine of the class {_class(there)}, this one is of {_class(here)}; profile "
            f"{run.record.profile.name!r} promises nothing between classes"
        )
    if there.status == "unproven" and _facts(run.record.machine) != _facts(machine()):
        return f"this is another CPU than the run's, and the run's record is unproven: {'; '.join(there.reasons)}"
    return ""


def _differing(there: Mapping[str, str], here: Mapping[str, str], unpromised: Collection[str]) -> list[str]:
    """What both computed, to different results; of what no profile promises, a run that uses it is unproven anyway."""
    both = there.keys() & here.keys() - unpromised
    return sorted(name for name in both if there[name] != here[name])


def _class(proof: ProofFacts) -> str:
    return proof.machine or "none that the profile knows"


def _facts(machine: Mapping[str, str | int]) -> tuple[str | int | None, ...]:
    return tuple(machine.get(name) for name in ("cpu_model", "cpu_maker", "cpu_flags"))


def _other_maker(record: RunRecord) -> str:
    """For records without operations: the makers alone are compared, where the profile tells them apart."""
    profile = PROFILES[record.profile.name]
    theirs, ours = str(record.machine.get("cpu_maker", "")), read_cpuinfo().get("vendor_id", "")
    here = machine_class(profile)
    if theirs == ours or (here is not None and not here.maker):
        return ""
    return (
        f"the run was on a CPU of {theirs or 'an unknown maker'}, this one is of {ours}; "
        f"profile {profile.name!r} promises {profile.promise}"
    )
