"""`reprise bundle`: an image, and what its host needs, as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import ImageArgument, JsonOption, StoreOption


def command(
    image: ImageArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.", metavar="FILE")],
    policy: Annotated[
        Path | None,
        typer.Option("--policy", help="Policy file to take along; by default the one beside your key.", metavar="FILE"),
    ] = None,
    configs: Annotated[
        list[Path] | None,
        typer.Option("--config", help="A run's configuration: the bundle takes its data along.", metavar="FILE"),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--as", help="Where the image was pushed to; by default what pulls of it are remembered.", metavar="REF"
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write IMAGE with all that refers to it (signatures, lock, source, archive), policy, trusted root and data.

    It is one OCI layout in one file.

    The same contents give the same file, byte for byte. `reprise load` takes it on a host without any network.

    Example: `reprise bundle torch-cpu -o torch-cpu.tar --config run.toml`
    """
    from reprise.bundle.write import write_bundle
    from reprise.checkpoints import checkpoint_blobs
    from reprise.cli.output import print_document, print_json
    from reprise.registry.reference import parse_reference
    from reprise.run_config import load_config
    from reprise.snapshots import data_artifacts
    from reprise.start import is_stored
    from reprise.store import Store
    from reprise.store.references import pulled_from
    from reprise.trust.keys import home
    from reprise.trust.policy_file import POLICY_FILE, load_policy
    from reprise.trust.proofs import SigstoreProofs

    opened = Store.open(store, create=False)
    digest = opened.resolve(image)
    place = policy or home() / POLICY_FILE
    rules = load_policy(place)  # one that can't be read is said here, not on a host without any network
    if rules.trusted_root:
        SigstoreProofs(rules.root).require_root(rules.trusted_root)
    data: list[tuple[str, str]] = []
    for each in configs or ():
        found = load_config(each).config
        data += [(one.file_name, one.digest) for one in data_artifacts(found.data, opened, base=each.parent)]
        if found.start is not None and is_stored(found.start):
            files = checkpoint_blobs(found.start.checkpoint, opened)
            data += [("checkpoint.json", found.start.checkpoint), *files.items()]
    written = write_bundle(
        opened,
        digest,
        output,
        name="" if image == digest else image,
        references=[str(parse_reference(reference))] if reference else pulled_from(opened, digest),
        policy=place.read_bytes(),
        trusted_root=rules.root,
        data=data,
    )
    if as_json:
        print_json(written.as_json())
    else:
        print_document(written.as_json())
