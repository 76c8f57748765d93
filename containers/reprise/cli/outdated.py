"""`reprise outdated`: how old what is locked is."""

from __future__ import annotations

from pathlib import Path

from reprise.cli.options import EnvironmentArgument, JsonOption, ProjectOption, StoreOption


def command(
    environment: EnvironmentArgument,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how old each locked package of ENVIRONMENT is and what newer versions there are, oldest first.

    Asks what this machine's pip and apt are configured with, and conda packages' own channels. A place that does not
    answer is named on stderr; the rest is shown.

    Example: `reprise outdated torch-cpu`
    """
    import sys
    from datetime import UTC, datetime

    from reprise.cli.output import print_json, print_table
    from reprise.environments import load_lock
    from reprise.lock.environment import read_environment
    from reprise.outdated.age import HEADER
    from reprise.outdated.places import ages_of
    from reprise.project import Project
    from reprise.store import Store
    from reprise_trainer.errors import NotFoundError

    where = Project.find(project)
    lock = load_lock(where, environment)
    try:
        opened = Store.open(store, create=False)
    except NotFoundError:
        opened = None
    report = ages_of(lock, read_environment(where.environment_file(environment)), opened, datetime.now(UTC))
    for place in report.silent:
        print(f"no answer: {place}", file=sys.stderr)
    print_json(report.as_json()) if as_json else print_table(HEADER, report.table())
