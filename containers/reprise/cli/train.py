"""`reprise train`: run the trainer inside the image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import (
    EngineOption,
    JsonOption,
    KeyOption,
    MetricsPortOption,
    MlflowOption,
    PassphraseCommandOption,
    PassphraseDescriptorOption,
    PolicyOption,
    ProgressOption,
    ProjectOption,
    SetOption,
    StoreOption,
    TensorBoardOption,
)


def command(
    config: Annotated[Path, typer.Argument(help="The run's configuration (TOML).", metavar="CONFIG")],
    set_keys: SetOption = None,
    engine: EngineOption = "namespaces",
    output: Annotated[
        Path | None,
        typer.Option("--output", help="New folder for the run's files; by default runs/NAME-TIME.", metavar="DIR"),
    ] = None,
    layout: Annotated[
        Path | None,
        typer.Option(
            "--layout",
            help="An OCI layout, as `nix build` leaves it: its image goes into the store first, signed with your key.",
            metavar="DIR",
        ),
    ] = None,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    key: KeyOption = None,
    policy: PolicyOption = None,
    passphrase_fd: PassphraseDescriptorOption = None,
    passphrase_command: PassphraseCommandOption = None,
    tensorboard: TensorBoardOption = None,
    mlflow: MlflowOption = None,
    metrics_port: MetricsPortOption = None,
    show: ProgressOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train as CONFIG says, inside its signed image, and leave a signed run record.

    The image must be built and signed; a policy that does not hold, or an image that is not what it should be, ends
    the run before it starts.

    Example: `reprise train examples/fashion-mnist.toml --engine docker`
    """
    from reprise.cli.launcher import open_launcher
    from reprise.cli.output import print_json, print_rows
    from reprise.cli.progress import progress
    from reprise.layouts import take_signed
    from reprise.project import Project
    from reprise.run_config import load_config
    from reprise.store import Store
    from reprise.trackers.choose import Trackers, tracked
    from reprise.train import train
    from reprise_trainer.config.overrides import parse_override

    overrides = [parse_override(text) for text in set_keys or ()]
    name = load_config(
        config, overrides
    ).config.run.name  # what is wrong with it is said before a key or a store is made
    launcher = open_launcher(
        Store.open(store, create=layout is not None),
        key,
        policy,
        engine,
        passphrase_fd=passphrase_fd,
        passphrase_command=passphrase_command,
    )
    if layout is not None:
        take_signed(layout, launcher.store, launcher.key, launcher.policy)
    chosen = Trackers(tensorboard, mlflow, metrics_port)
    with progress(show) as shown, tracked(chosen, name, shown) as on_event:
        result = train(config, launcher, Project.find(project), overrides=overrides, output=output, on_event=on_event)
    if as_json:
        print_json(result.as_json())
    else:
        print_rows((name, str(value)) for name, value in result.as_json().items())
