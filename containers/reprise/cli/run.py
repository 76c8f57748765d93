"""`reprise run`: a reference, a policy and a configuration → a run in a verified image."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import (
    CertificatesOption,
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
    image: Annotated[
        str, typer.Argument(help="HOST[:PORT]/PATH[:TAG][@DIGEST], or an image in the store.", metavar="IMAGE")
    ],
    config: Annotated[Path | None, typer.Argument(help="The run's configuration (TOML).", metavar="CONFIG")] = None,
    policy: PolicyOption = None,
    set_keys: SetOption = None,
    engine: EngineOption = "namespaces",
    gpus: Annotated[
        str, typer.Option("--gpus", help="With --engine docker: all, a number, or device=0,1.", metavar="GPUS")
    ] = "",
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
    store: StoreOption = None,
    key: KeyOption = None,
    passphrase_fd: PassphraseDescriptorOption = None,
    passphrase_command: PassphraseCommandOption = None,
    certificates: CertificatesOption = None,
    tensorboard: TensorBoardOption = None,
    mlflow: MlflowOption = None,
    metrics_port: MetricsPortOption = None,
    show: ProgressOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Train as CONFIG says in IMAGE, on a host that has neither project nor lock.

    Manifest, config and signatures come first; when the policy does not hold for them, no layer is downloaded. Then
    the missing layers come, and the trainer measures what it runs on. CONFIG's `run.environment` picks nothing here.

    Example: `reprise run registry.example.org/team/torch-cpu@sha256:… --policy policy.toml -- run.toml`
    """
    from contextlib import nullcontext

    from reprise.cli.launcher import open_launcher, witness_note
    from reprise.cli.output import print_document, print_json
    from reprise.cli.progress import progress
    from reprise.engine.arriving import unpacked_on_arrival
    from reprise.engine.choose import choose_engine
    from reprise.engine.secret_folder import read_secrets
    from reprise.host import obtain_image, run_in_image
    from reprise.registry.pull import NOBODY
    from reprise.run_folder import load_run
    from reprise.store import Store
    from reprise.store.layout import default_root
    from reprise.trackers.choose import Trackers, tracked
    from reprise_trainer.config.overrides import parse_override

    refuse_contradictions(fresh, resume, output)
    overrides = [parse_override(text) for text in set_keys or ()]
    secrets = read_secrets(secret or ())
    shards = shard_place(shards_from, shard_cache, certificates)
    # What is wrong with it, or with the engine, is said before anything is asked or made.
    name = load_run(config, overrides, resume, Store(store or default_root()))[0].config.run.name
    choose_engine(engine, gpus, network=network)
    launcher = open_launcher(
        Store.open(store),
        key,
        policy,
        engine,
        gpus,
        network=network,
        secrets=secrets,
        passphrase_fd=passphrase_fd,
        passphrase_command=passphrase_command,
        make_policy=False,
    )
    chosen = Trackers(tensorboard, mlflow, metrics_port)
    with progress(show) as shown, tracked(chosen, name, shown) as on_event:
        unpacks = engine == "namespaces"
        with unpacked_on_arrival(launcher.store, on_event) if unpacks else nullcontext(NOBODY) as arrival:
            obtained = obtain_image(
                image,
                launcher.store,
                launcher.policy,
                certificates=certificates,
                on_event=on_event,
                arrival=arrival,
            )
        result = run_in_image(
            obtained,
            config,
            launcher,
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
    document = {**obtained.as_json(), **result.as_json()}
    if as_json:
        print_json(document)
    else:
        print_document(document, without=("pulled", "digest"))
