"""`reprise_trainer config`: check a configuration, and say where each effective value comes from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from reprise_trainer.errors import NotFoundError

EXAMPLE = "example: reprise_trainer config run.toml --set train.optimizer.lr=0.01 --explain"


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the verb's arguments."""
    verb = verbs.add_parser("config", help="check a configuration, explain its effective values", epilog=EXAMPLE)
    verb.add_argument("config", type=Path, metavar="CONFIG", help="the run's configuration (TOML)")
    verb.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a key, such as train.optimizer.lr=0.01; the value is TOML, or else text",
    )
    verb.add_argument("--explain", action="store_true", help="show every effective value and where it came from")
    verb.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
    verb.set_defaults(command=command)


def command(chosen: argparse.Namespace) -> int:
    """Check the configuration; with `--explain`, print a row a key."""
    from reprise_trainer.config.explain import explain
    from reprise_trainer.config.overrides import parse_override
    from reprise_trainer.config.read import read_config

    path: Path = chosen.config
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"cannot read the configuration {path}: {error.strerror}") from error
    overrides = [parse_override(text) for text in chosen.overrides]
    config = read_config(data, where=str(path), overrides=overrides)
    rows = explain(config, where=str(path), overrides=overrides)
    if chosen.as_json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    elif chosen.explain:
        width = max(len(row.key) for row in rows)
        for row in rows:
            print(f"{row.key:<{width}}  {json.dumps(row.value):<20}  {row.source:<12}  {row.meaning}".rstrip())
    else:
        print(f"{path}: a whole configuration; --explain shows every effective value")
    return 0
