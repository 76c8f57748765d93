"""How far the profile's promise holds for one run: what was measured on this machine, against the committed table.

A machine whose operations differ is not wrong: its bits may be as good as any. But nobody has shown that another
machine gives the same, so the promise is withdrawn and the record says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.numerics.claims import OPEN
from reprise_trainer.numerics.cpu import machine_class
from reprise_trainer.numerics.profiles import Profile
from reprise_trainer.numerics.table import RowKey, Table

Status = Literal["proved", "unproven", "not reproducible"]


@dataclass(frozen=True, slots=True)
class WorkerMachine:
    """One worker's machine: the name of its class (empty: none), and the digest of the promised operations' hashes that
    it computed at the start."""

    machine: str
    operations: str


@dataclass(frozen=True, slots=True)
class Proof:
    """`status`: "proved" where every operation that was computed has the committed bits, "unproven" where one has not
    or is not in the table, "not reproducible" where the profile promises nothing. `reasons` say why it is not proved,
    `machine` is the class of this machine (empty: none), `operations` the hashes that were computed at the start, and
    `workers` what every worker's machine is, by rank, once they have been compared."""

    status: Status
    reasons: tuple[str, ...] = ()
    machine: str = ""
    operations: Mapping[str, str] = field(default_factory=dict)
    workers: tuple[WorkerMachine, ...] = ()

    def line(self) -> str:
        """One line for people."""
        return f"numerics: {self.status}" + (f" ({'; '.join(self.reasons)})" if self.reasons else "")

    def weakened(self, reason: str) -> Proof:
        """The same, for one more reason; what is not reproducible anyway stays so."""
        status: Status = "unproven" if self.status == "proved" else self.status
        return replace(self, status=status, reasons=(*self.reasons, reason))


def prove(
    profile: Profile, backend: str, version: str, threads: int, measured: Mapping[str, str], table: Table
) -> Proof:
    """Compare what this machine computes with what the table promises.

    Args:
        profile: under which this process runs.
        backend, version: the framework and its version.
        threads: inside one operation.
        measured: operation → hash, all or some of the table's.
        table: the committed one.
    """
    machine = machine_class(profile)
    proof = Proof("proved", (), machine.name if machine else "", measured)
    if not profile.reproducible:
        return replace(proof, status="not reproducible", reasons=(f"profile {profile.name!r} promises nothing",))
    if machine is None:
        return proof.weakened(f"profile {profile.name!r} promises nothing for CPUs of this maker")
    key = RowKey(profile=profile.name, backend=backend, version=version, threads=threads, machine=machine.name)
    expected = table.hashes(key)
    if expected is None:
        return proof.weakened(
            f"nobody has measured {backend} {version} with {threads} threads under profile {profile.name!r} "
            f"on {machine.name}"
        )
    differing = sorted(name for name, digest in promised(backend, measured).items() if expected.get(name) != digest)
    if differing:
        return proof.weakened(f"other bits than the operation table's: {', '.join(differing)}")
    return proof


def promised(backend: str, measured: Mapping[str, str]) -> dict[str, str]:
    """The hashes of those operations that a profile promises something for."""
    return {name: digest for name, digest in measured.items() if name not in OPEN[backend]}


def table_digest(hashes: Mapping[str, str]) -> str:
    """The digest of operations' hashes as canonical JSON: equal exactly where each of them is."""
    return sha256_digest(canonical_json(dict(hashes)))


def with_used(proof: Proof, backend: str, used: frozenset[str], table: Table) -> Proof:
    """The proof for a model that uses these operations of the framework.

    Args:
        proof: of the machine.
        backend: whose names `used` holds.
        used: as `Backend.operations` gives them.
        table: the committed one.
    """
    outside = table.outside(backend, used)
    if not outside:
        return proof
    return proof.weakened(f"operations of the model that are not in the operation table: {', '.join(outside)}")
