"""`reprise_trainer parity`: train both backends from the same start, and report how far apart they are."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from reprise_trainer.errors import InputError, NotFoundError
from reprise_trainer.numerics.cpu import require_cpu
from reprise_trainer.numerics.enter import enter_profile
from reprise_trainer.numerics.profiles import profile_asked_for

EXAMPLE = "example: reprise_trainer parity run.toml snapshot --steps 20"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the verb's arguments."""
    verb = verbs.add_parser("parity", help="train both backends from one start, report their drift", epilog=EXAMPLE)
    verb.add_argument("config", type=Path, metavar="CONFIG", help="the run's configuration (TOML)")
    verb.add_argument("data", type=Path, metavar="SNAPSHOT", help="the snapshot's folder")
    verb.add_argument("--steps", type=int, default=10, metavar="N", help="how many steps (10)")
    verb.add_argument("--json", dest="as_json", action="store_true", help="print JSON lines")
    verb.set_defaults(command=command)


def command(chosen: argparse.Namespace) -> int:
    """Print a line a step."""
    try:
        text = Path(chosen.config).read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot read the configuration {chosen.config}: {error.strerror}") from error
    profile, threads = profile_asked_for(text, where=str(chosen.config))
    require_cpu(profile)
    enter_profile(profile, threads)

    from reprise_trainer.config.read import read_config
    from reprise_trainer.data.snapshot import open_snapshot
    from reprise_trainer.training.parity import drifts
    from reprise_trainer.training.plan import make_backend, make_plan, open_batches

    config = read_config(text, where=str(chosen.config))
    if config.model.kind == "own":
        raise InputError("model.kind: a model of your own is written for one framework; parity compares two")
    source = open_snapshot(chosen.data)
    plan = make_plan(config, source)
    one, other = (make_backend(name, plan) for name in ("torch", "jax"))
    for backend in (one, other):
        backend.prepare(profile.backends[backend.name], threads)
    if not chosen.as_json:
        print("step   loss torch     loss jax   differing   median ULP   largest ULP   largest difference")
    for drift in drifts(plan, one, other, open_batches(config.data, source, plan), chosen.steps):
        if chosen.as_json:
            print(json.dumps(asdict(drift)), flush=True)
            continue
        print(
            f"{drift.step:4d}   {drift.losses[0]:10.6f}   {drift.losses[1]:10.6f}   {drift.differing:9.1%}   "
            f"{drift.median_ulps:10.0f}   {drift.largest_ulps:11d}   {drift.largest_difference:18.3g}",
            flush=True,
        )
    return 0
