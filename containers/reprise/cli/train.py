"""`reprise train`: run the trainer inside the image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import (
    EngineOption,
    FreshOption,
    JsonOption,
    KeyOption,
    MetricsPortOption,
    MlflowOption,
    NetworkOption,
    PassphraseCommandOption,
    PassphraseDescriptorOption,
    PolicyOption,
    ProgressOption,
    ProjectOption,
    ResumeOption,
    RunWorkersOption,
    SecretOption,
    SetOption,
    ShardCacheOption,
    ShardsFromOption,
    StoreOption,
    TensorBoardOption,
    refuse_contradictions,
    shard_place,
)


def command(
    config: Annotated[Path | None, typer.Argument(help="The run's configuration (TOML).", metavar="CONFIG")] = None,
    set_keys: SetOption = None,
    engine: EngineOption = "namespaces",
    network: NetworkOption = False,
    secret: SecretOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="New folder for the run's files; by default runs/NAME-TIME.", metavar="DIR"),
    ] = None,
    resume: ResumeOption = None,
    workers: RunWorkersOption = 1,
    shards_from: ShardsFromOption = None,
    shard_cache: ShardCacheOption = None,
    fresh: FreshOption = False,
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
    the run before it starts. SIGTERM and Ctrl-C let it leave a checkpoint and exit 75; `--resume` goes on from there.

    Example: `reprise train examples/fashion-mnist.toml --engine docker`
    """
    from reprise.cli.launcher import open_launcher, witness_note
    from reprise.cli.output import print_document, print_json
    from reprise.cli.progress import progress
    from reprise.engine.secret_folder import read_secrets
    from reprise.layouts import take_signed
    from reprise.project import Project
    from reprise.run_folder import load_run
    from reprise.store import Store
    from reprise.store.layout import default_root
    from reprise.trackers.choose import Trackers, tracked
    from reprise.train import train
    from reprise_trainer.config.overrides import parse_override

    refuse_contradictions(fresh, resume, output)
    overrides = [parse_override(text) for text in set_keys or ()]
    secrets = read_secrets(secret or ())
    shards = shard_place(shards_from, shard_cache)
    # What is wrong with it is said before a key or a store is made.
    name = load_run(config, overrides, resume, Store(store or default_root()))[0].config.run.name
    launcher = open_launcher(
        Store.open(store, create=layout is not None),
        key,
        policy,
        engine,
        network=network,
        secrets=secrets,
        passphrase_fd=passphrase_fd,
        passphrase_command=passphrase_command,
    )
    if layout is not None:
        take_signed(layout, launcher.store, launcher.key, launcher.policy)
    chosen = Trackers(tensorboard, mlflow, metrics_port)
    with progress(show) as shown, tracked(chosen, name, shown) as on_event:
        result = train(
            config,
            launcher,
            Project.find(project),
            overrides=overrides,
            output=output,
            resume=resume,
            workers=workers,
            shards=shards,
            fresh=fresh,
            on_event=on_event,
        )
    if note := witness_note(launcher.policy, result.output):
        print(note, file=sys.stderr)
    if as_json:
        print_json(result.as_json())
    else:
        print_document(result.as_json())
