"""Options that several verbs share, each said once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from reprise.feed.snapshot import ShardPlace
    from reprise.trust.passphrase import Passphrase

EngineName = Literal["namespaces", "docker", "podman"]
ProgressForm = Literal["auto", "plain", "json"]

IMAGE_HELP = "An image in the store: its environment's name, a pulled reference, or its digest."

EnvironmentArgument = Annotated[
    str, typer.Argument(help="Name of an environment, as in containers/images/NAME.toml.", metavar="ENVIRONMENT")
]
ImageArgument = Annotated[str, typer.Argument(help=IMAGE_HELP, metavar="IMAGE")]
ConfigArgument = Annotated[Path, typer.Argument(help="The run's configuration (TOML).", metavar="CONFIG")]
ProjectOption = Annotated[
    Path, typer.Option("--project", help="Folder of the project; the nearest one upwards is taken.", metavar="DIR")
]
StoreOption = Annotated[
    Path | None,
    typer.Option("--store", help="The store; by default $REPRISE_STORE, else your data folder.", metavar="DIR"),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="Policy file; by default the one beside your signing key.", metavar="FILE"),
]
TrustedRootOption = Annotated[
    Path | None,
    typer.Option(
        "--trusted-root",
        help="The trusted root that the policy pins; by default trusted_root.json beside it.",
        metavar="FILE",
    ),
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        help="Signing key: a PEM file, or pkcs11:…, awskms:…, gcpkms:…, azurekms:…, hashivault:…; by default your own.",
        metavar="KEY",
    ),
]
PassphraseDescriptorOption = Annotated[
    int | None,
    typer.Option("--passphrase-fd", help="Read the key's passphrase or PIN from this open descriptor.", metavar="N"),
]
PassphraseCommandOption = Annotated[
    str | None,
    typer.Option("--passphrase-command", help="Take what this command prints as passphrase or PIN.", metavar="COMMAND"),
]
EngineOption = Annotated[EngineName, typer.Option("--engine", help="What runs the image.")]
NetworkOption = Annotated[
    bool,
    typer.Option("--network", help="Let the run reach the network, which its record says; by default it has none."),
]
SecretOption = Annotated[
    list[str] | None,
    typer.Option(
        "--secret",
        help="Let the run's own code read FILE at /run/secrets/NAME; it is kept out of all output. May be given again.",
        metavar="NAME=FILE",
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, max=256, help="Processes at once; one a core by default.")
]
ReferenceArgument = Annotated[str, typer.Argument(help="HOST[:PORT]/PATH[:TAG][@DIGEST].", metavar="REF")]
CertificatesOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        help="Certificate authorities (PEM) of the registry; by default those in docker's or podman's certs.d.",
        metavar="FILE",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set a key of CONFIG; may be given again.", metavar="KEY=VALUE"),
]
PlatformOption = Annotated[
    str | None,
    typer.Option("--platform", help="Of an index, the image for this platform.", metavar="OS/ARCH[/VARIANT]"),
]
TensorBoardOption = Annotated[
    Path | None, typer.Option("--tensorboard", help="Write TensorBoard's log below this folder.", metavar="DIR")
]
MlflowOption = Annotated[
    str | None, typer.Option("--mlflow", help="Log to this MLflow server, by its http address.", metavar="URI")
]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        min=0,
        max=65535,
        help="Serve a page for Prometheus at this port of 127.0.0.1; 0 takes a free one.",
        metavar="PORT",
    ),
]
ProgressOption = Annotated[
    ProgressForm, typer.Option("--progress", help="How progress is shown on stderr: auto, plain lines, JSON lines.")
]
ResumeOption = Annotated[
    Path | None,
    typer.Option(
        "--resume", help="Go on with the run in this folder; with CONFIG, start there if none has begun.", metavar="DIR"
    ),
]
FreshOption = Annotated[
    bool,
    typer.Option("--fresh", help="With --resume: do evaluation and report again, whatever an earlier attempt kept."),
]
RunWorkersOption = Annotated[
    int,
    typer.Option("--workers", min=1, max=256, help="Processes that share a run's logical shards; never changes bits."),
]
ShardsFromOption = Annotated[
    str | None,
    typer.Option(
        "--shards-from",
        help="Bring the snapshot's shards from here while the run goes on: a reference, or an OCI layout.",
        metavar="REF",
    ),
]
ShardCacheOption = Annotated[
    str | None,
    typer.Option(
        "--shard-cache", help="With --shards-from: how much room shards may take here; by default 4GB.", metavar="SIZE"
    ),
]
SHARD_CACHE = "4GB"

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for machines.")]


def refuse_contradictions(fresh: bool, resume: Path | None, output: Path | None) -> None:
    """Raises UsageError for `--fresh` without the run that it is about, and for two folders of one run."""
    from reprise_trainer.errors import UsageError

    if fresh and resume is None:
        raise UsageError("--fresh is about a run that goes on", hint="Name its folder with --resume.")
    if resume is not None and output is not None:
        raise UsageError(
            "--resume names the folder of a run, and --output that of a new one",
            hint="Leave --output away: a run goes on in its own folder.",
        )


def shard_place(where: str | None, room: str | None, certificates: Path | None = None) -> ShardPlace | None:
    """Where shards come from, by the two options; None where all are brought first.

    Raises:
        UsageError: `room` is no size, or is given without `where`.
    """
    from reprise_trainer.errors import UsageError

    if room is not None and where is None:
        raise UsageError("--shard-cache is room for what --shards-from brings", hint="Say where from, too.")
    room = room or SHARD_CACHE
    match = re.fullmatch(r"(\d{1,15})\s*([kMGT]?)(i?)B", room)
    if not match or (match[3] and not match[2]):
        raise UsageError(f"--shard-cache: {room!r} is not a size", hint="Write it as 500MB, 20GB or 16GiB.")
    if where is None:
        return None
    from reprise.feed.snapshot import ShardPlace

    unit = 1024 if match[3] else 1000
    return ShardPlace(where, int(match[1]) * unit ** " kMGT".index(match[2] or " "), certificates)


def passphrase_source(
    descriptor: int | None, command: str | None, *, otherwise: Passphrase | None = None
) -> Passphrase:
    """Where a passphrase comes from, by its two options; else from `otherwise`, which asks at the terminal by default.

    Raises:
        UsageError: both options are given.
    """
    from reprise.trust.passphrase import from_command, from_descriptor, from_prompt
    from reprise_trainer.errors import UsageError

    if descriptor is not None and command is not None:
        raise UsageError("a passphrase comes from a descriptor or from a command, not from both")
    if descriptor is not None:
        return from_descriptor(descriptor)
    return from_command(command) if command is not None else otherwise or from_prompt
