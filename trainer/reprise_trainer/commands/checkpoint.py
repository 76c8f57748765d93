"""`reprise_trainer checkpoint`: check checkpoints, compare two, pin one."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

EXAMPLE = "example: reprise_trainer checkpoint diff one-run/checkpoints/step-00000235 other-run"
VERIFY_EXAMPLE = "example: reprise_trainer checkpoint verify one-run --key one-run/run-key.pub"
PIN_EXAMPLE = "example: reprise_trainer checkpoint pin one-run/checkpoints/step-00000235 --reason 'before the new data'"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the verb's arguments."""
    verb = verbs.add_parser("checkpoint", help="check checkpoints, compare two, pin one", epilog=EXAMPLE)
    actions = verb.add_subparsers(title="actions", metavar="ACTION", required=True)

    diff = actions.add_parser("diff", help="the tensors and elements in which two checkpoints differ", epilog=EXAMPLE)
    diff.add_argument("first", type=Path, metavar="A", help="a checkpoint's folder, or a run's for its newest")
    diff.add_argument("second", type=Path, metavar="B", help="another")
    diff.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    diff.set_defaults(command=diff_command)

    verify = actions.add_parser("verify", help="compare a checkpoint's tensors with its digest", epilog=VERIFY_EXAMPLE)
    verify.add_argument("checkpoint", type=Path, metavar="FOLDER", help="a checkpoint's folder, or a run's")
    verify.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    verify.add_argument("--key", type=Path, metavar="PEM", help="check each one's signature too, by this public key")
    verify.set_defaults(command=verify_command)

    pin = actions.add_parser(
        "pin", help="keep a checkpoint whatever the run's rule says: a point to roll back to", epilog=PIN_EXAMPLE
    )
    pin.add_argument("checkpoint", type=Path, metavar="FOLDER", help="a checkpoint's folder")
    pin.add_argument("--reason", default="", metavar="TEXT", help="why, for people")
    pin.add_argument("--remove", action="store_true", help="leave it to the rule again")
    pin.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    pin.set_defaults(command=pin_command)


def diff_command(chosen: argparse.Namespace) -> int:
    """Compare two checkpoints: 0 where they are equal, else 1 and a line a differing tensor."""
    from reprise_trainer.training.checkpoints.find import find_checkpoint
    from reprise_trainer.training.checkpoints.state_compare import compare_states

    first, second = find_checkpoint(chosen.first), find_checkpoint(chosen.second)
    differences = compare_states(first.tensors, second.tensors)
    if chosen.as_json:
        document = {"first": first.digest, "second": second.digest, "equal": not differences}
        print(json.dumps({**document, "differences": [each.as_json() for each in differences]}, indent=2))
    elif not differences:
        print(f"the same state after step {first.step}: {first.digest}")
    else:
        print(f"first:  step {first.step}, {first.digest}\nsecond: step {second.step}, {second.digest}")
        print(*differences, sep="\n")
    return 1 if differences else 0


def verify_command(chosen: argparse.Namespace) -> int:
    """Check one checkpoint, or all of a run: 0 where each holds, else 1 and a line for each that doesn't."""
    from reprise_trainer.training.checkpoints.find import verify_checkpoints

    held, damaged = verify_checkpoints(chosen.checkpoint, _check(chosen.key))
    if chosen.as_json:
        document = {"checkpoints": [{"step": step, "state": state} for step, state in held], "damaged": damaged}
        print(json.dumps(document, indent=2))
    else:
        for step, state in held:
            print(f"step {step}: {state}")
        for message in damaged:
            print(f"damaged: {message}")
    return 1 if damaged else 0


def pin_command(chosen: argparse.Namespace) -> int:
    """Pin a checkpoint that holds, or remove its pin."""
    from reprise_trainer.errors import NotFoundError
    from reprise_trainer.training.checkpoints.find import folders_of
    from reprise_trainer.training.checkpoints.retention import pin, unpin

    folder: Path = chosen.checkpoint
    if folders_of(folder) != [folder]:
        raise NotFoundError(f"{folder}: several checkpoints; name the one to pin")
    if chosen.remove:
        unpin(folder)
    else:
        pin(folder, chosen.reason)
    if chosen.as_json:
        print(json.dumps({"checkpoint": str(folder), "pinned": not chosen.remove}))
    else:
        print(f"{folder}: {'not pinned any more' if chosen.remove else 'pinned'}")
    return 0


def _check(key: Path | None) -> Callable[[Path], None]:
    """What checks the signature in a checkpoint's folder; nothing without a key."""
    from reprise_trainer.errors import InputError, NotFoundError
    from reprise_trainer.identity.bundle import read_public_key
    from reprise_trainer.training.checkpoints.signature import verify_checkpoint_signature

    if key is None:
        return lambda folder: None
    try:
        public = read_public_key(key.read_text(errors="replace"))
    except OSError as error:
        raise NotFoundError(f"cannot read the key {key}: {error.strerror}") from error
    except InputError as error:
        hint = "A run's own is run-key.pub in its folder."
        raise InputError(f"{key}: {error.message}", hint=hint) from error
    return lambda folder: verify_checkpoint_signature(folder, public)
