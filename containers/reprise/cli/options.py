"""Options that several verbs share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

EngineName = Literal["namespaces", "docker", "podman"]

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
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="Signing key (PEM); by default your own, made on first use.", metavar="FILE"),
]
EngineOption = Annotated[EngineName, typer.Option("--engine", help="What runs the image.")]
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
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for machines.")]
