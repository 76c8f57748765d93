"""`reprise policy`: the policy for other tools."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from reprise.cli.ending import ending
from reprise.cli.options import JsonOption, PolicyOption

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _verbs() -> None:
    """The policy that images have to meet, for other tools.

    Example: `reprise policy export --for containers --output /etc/containers/reprise`
    """


@app.command()
@ending
def export(
    target: Annotated[
        Literal["containers", "containerd", "kubernetes"],
        typer.Option(
            "--for",
            help="containers: podman, skopeo, CRI-O. containerd: its image verifier. kubernetes: policy-controller.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", help="Folder for the files.", metavar="DIR")],
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the policy in another tool's words, and say which of its rules that tool will not check.

    Example: `reprise policy export --for containers --output /etc/containers/reprise`
    """
    from datetime import UTC, datetime

    from reprise.cli.output import print_json
    from reprise.trust.export import export_policy, write_export
    from reprise.trust.export_containerd import export_containerd
    from reprise.trust.keys import home
    from reprise.trust.policy_file import POLICY_FILE, load_policy
    from reprise.trust.proofs import SigstoreProofs

    place = policy or home() / POLICY_FILE
    rules = load_policy(place)
    if rules.trusted_root:
        SigstoreProofs(rules.root).require_root(rules.trusted_root)  # else the tool would refuse every image
    if target == "containerd":
        exported = export_containerd(place.read_bytes(), rules.root, output, sys.executable)
    else:
        exported = export_policy(rules, target, output, datetime.now(UTC))
    written = [str(path) for path in write_export(exported, output)]
    if as_json:
        print_json({"files": written, "not_checked": list(exported.not_carried)})
        return
    for path in written:
        print(f"wrote        {path}")
    for rule in exported.not_carried:
        print(f"not checked  {rule}")


@app.command("trusted-root")
@ending
def trusted_root(
    output: Annotated[Path, typer.Option("--output", help="New file for it.", metavar="FILE")],
    trust_config: Annotated[
        Path | None,
        typer.Option("--trust-config", help="Whose; by default the public Sigstore's, fetched by TUF.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the trusted root of a Sigstore, and print the digest that a policy pins.

    Example: `reprise policy trusted-root --output trusted_root.json`
    """
    from reprise.cli.output import print_document, print_json
    from reprise.trust.keyless_signer import read_trust_config
    from reprise.trust.policy_file import save_trusted_root

    digest = save_trusted_root(read_trust_config(trust_config, services=False).trusted_root, output)
    document = {"file": str(output), "trusted_root": digest}
    print_json(document) if as_json else print_document(document)
