"""`reprise_trainer profile`: what a profile promises and sets."""

from __future__ import annotations

import argparse
import json
import shlex

from reprise_trainer.errors import InputError
from reprise_trainer.numerics.cpu import machine_class
from reprise_trainer.numerics.profiles import DEFAULT, PROFILES

EXAMPLE = 'example: set -a; eval "$(reprise_trainer profile portable --export)"; python my_program.py'


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the verb's arguments."""
    verb = verbs.add_parser("profile", help="show what a profile promises and sets", epilog=EXAMPLE)
    verb.add_argument("profile", nargs="?", choices=tuple(PROFILES), default=DEFAULT, help="which one (x86-64-v3)")
    verb.add_argument("--threads", type=int, default=1, metavar="N", help="threads inside one operation (1)")
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--export", action="store_true", help="print NAME=VALUE lines to set before Python starts")
    form.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    verb.set_defaults(command=command)


def command(chosen: argparse.Namespace) -> int:
    """Print the profile."""
    profile, threads = PROFILES[chosen.profile], int(chosen.threads)
    if threads < 1:
        raise InputError(f"--threads: expected a number from 1, not {threads}")
    here = machine_class(profile)
    switches = profile.switches(threads)
    if chosen.export:
        print("\n".join(f"{name}={shlex.quote(value)}" for name, value in switches.items()))
    elif chosen.as_json:
        found = {"name": profile.name, "promise": profile.promise, "table": profile.table(threads)}
        print(json.dumps({**found, "machine": here.name if here else ""}, indent=2))
    else:
        print(f"{profile.name}: {profile.promise}")
        print(f"  this machine: {here.name if here else 'in no class that it promises anything for'}")
        for name, value in switches.items():
            print(f"  {name}={value}")
    return 0
