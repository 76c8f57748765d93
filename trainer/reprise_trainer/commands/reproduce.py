"""`reprise_trainer reproduce`: the step at which a run's numbers stopped being numbers, again and alone."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from reprise_trainer.errors import NotFoundError
from reprise_trainer.numerics.cpu import require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for

EXAMPLE = "example: reprise_trainer reproduce output/failure snapshot"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the verb's arguments."""
    verb = verbs.add_parser("reproduce", help="run a failed step again, from the state before it", epilog=EXAMPLE)
    verb.add_argument("folder", type=Path, metavar="FAILURE", help="the folder `failure` of a run's output")
    verb.add_argument("data", type=Path, metavar="SNAPSHOT", help="the run's snapshot")
    verb.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    verb.set_defaults(command=command)


def command(chosen: argparse.Namespace) -> int:
    """Run the step, print its loss and the norms that are not finite; 0 where it gives what was recorded."""
    path: Path = chosen.folder / "config.toml"
    try:
        config = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path}: no failure's configuration to read: {error.strerror}") from error
    profile, threads = profile_asked_for(config, where=str(path))
    require_cpu(profile)
    enter_profile(profile, threads)

    from reprise_trainer.training.reproduce import reproduce

    recorded, found = reproduce(chosen.folder, chosen.data)
    if chosen.as_json:
        print(json.dumps({"recorded": asdict(recorded), "found": asdict(found), "equal": found == recorded}, indent=2))
        return 0 if found == recorded else 1
    print(f"step {found.step}: loss {float.fromhex(found.loss)}")
    for name, norm in found.gradients.items():
        print(f"  {name}: gradient {float.fromhex(norm):.6g}, weight {float.fromhex(found.weights[name]):.6g}")
    print("the same as recorded" if found == recorded else "not what was recorded: another machine or environment?")
    return 0 if found == recorded else 1
