"""`reprise_trainer operations`: compute the operation table here, and compare it with the committed one."""

from __future__ import annotations

import argparse
import json

from reprise_trainer.errors import SystemFailureError
from reprise_trainer.numerics.cpu import machine_class, require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import DEFAULT, PROFILES

EXAMPLE = "example: reprise_trainer operations --profile portable --backend torch"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the verb's arguments."""
    verb = verbs.add_parser("operations", help="compare this machine's bits with the operation table", epilog=EXAMPLE)
    verb.add_argument("--profile", choices=tuple(PROFILES), default=DEFAULT, help="under which profile (x86-64-v3)")
    verb.add_argument("--backend", choices=("torch", "jax"), default="torch", help="of which framework (torch)")
    verb.add_argument("--threads", type=int, default=1, metavar="N", help="threads inside one operation (1)")
    verb.add_argument(
        "--update",
        action="store_true",
        help="put this machine's hashes into the table in the package",
    )
    verb.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    verb.set_defaults(command=command)


def command(chosen: argparse.Namespace) -> int:
    """Compute, compare, print. The exit code is 0 only where every operation has the committed bits."""
    profile, backend, threads = PROFILES[chosen.profile], str(chosen.backend), int(chosen.threads)
    require_cpu(profile)
    enter_profile(profile, threads)

    from reprise_trainer.numerics.framework import prepare
    from reprise_trainer.numerics.measure import covered, measure
    from reprise_trainer.numerics.proof import prove
    from reprise_trainer.numerics.table import RowKey, read_table, write_table

    version, doubts = prepare(backend, profile.backends[backend], threads)
    hashes, table = measure(backend), read_table()
    if chosen.update:
        machine = machine_class(profile)
        if machine is None:
            raise SystemFailureError(
                f"profile {profile.name!r} promises nothing for CPUs of this maker: no row to write"
            )
        key = RowKey(profile=profile.name, backend=backend, version=version, threads=threads, machine=machine.name)
        table = table.with_row(key, hashes, covered(backend))
        write_table(table)
    proof = prove(profile, backend, version, threads, hashes, table)
    for doubt in doubts:
        proof = proof.weakened(doubt)
    if chosen.as_json:
        found = {"status": proof.status, "reasons": proof.reasons, "machine": proof.machine, "operations": hashes}
        print(json.dumps(found, indent=2))
    else:
        print(f"{len(hashes)} operations of {backend} {version}, profile {profile.name}, {threads} threads")
        print(proof.line())
    return 0 if proof.status == "proved" else 1
