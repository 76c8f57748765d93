"""`reprise_trainer ledger`: check a run's ledger."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reprise_trainer.errors import DoesNotHoldError, InputError, NotFoundError

EXAMPLE = "example: reprise_trainer ledger verify runs/demo/ledger.jsonl --head sha256:…"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the verb's arguments."""
    verb = verbs.add_parser("ledger", help="check a run's ledger", epilog=EXAMPLE)
    actions = verb.add_subparsers(title="actions", metavar="ACTION", required=True)
    verify = actions.add_parser("verify", help="check every line's chain, and the head", epilog=EXAMPLE)
    verify.add_argument("ledger", type=Path, metavar="FILE", help="a ledger.jsonl")
    verify.add_argument(
        "--head",
        metavar="DIGEST",
        help="the head that a signed record names; without it, lines cut off at the end pass",
    )
    verify.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    verify.set_defaults(command=verify_command)


def verify_command(chosen: argparse.Namespace) -> int:
    """Check the chain and print the head; 1 where a line was changed or the head is another."""
    from reprise_trainer.canonical import DIGEST_PATTERN
    from reprise_trainer.training.ledger import read_ledger

    path: Path = chosen.ledger
    if chosen.head is not None and not DIGEST_PATTERN.match(chosen.head):
        raise InputError(f"--head: expected sha256:<64 hex digits>, not {chosen.head!r}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot read the ledger {path}: {error.strerror}") from error
    ledger = read_ledger(data, where=str(path))
    if chosen.head is not None and ledger.head != chosen.head:
        raise DoesNotHoldError(f"{path}: the ledger's head is {ledger.head}, expected {chosen.head}")
    steps = sum("step" in line for line in ledger.lines)
    if chosen.as_json:
        checkpoints = {str(step): state for step, state in ledger.checkpoints.items()}
        print(json.dumps({"head": ledger.head, "steps": steps, "checkpoints": checkpoints}, indent=2))
    else:
        print(f"head {ledger.head}: {steps} steps, {len(ledger.checkpoints)} checkpoints, each line in the chain")
        if chosen.head is None:
            print("compare the head with the run record's: the chain alone can't tell whether its end was cut off")
    return 0
