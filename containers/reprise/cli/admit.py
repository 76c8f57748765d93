"""`reprise admit`: what containerd's image verifier calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import CertificatesOption, TrustedRootOption


def command(
    name: Annotated[str, typer.Option("-name", help="The reference that is to be pulled.", metavar="REF")],
    digest: Annotated[str, typer.Option("-digest", help="What it resolved to.", metavar="DIGEST")],
    policy: Annotated[Path, typer.Option("--policy", help="Policy file.", metavar="FILE")],
    media_type: Annotated[
        str, typer.Option("-stdin-media-type", help="What standard input holds.", metavar="TYPE")
    ] = "",
    operation: Annotated[
        str, typer.Option("-operation", help="pull or run; both are judged alike.", metavar="NAME")
    ] = "pull",
    trusted_root: TrustedRootOption = None,
    certificates: CertificatesOption = None,
) -> None:
    """Say whether a container runtime may pull an image, by a policy: containerd's image verifier (bindir) calls this.

    The reason is printed on standard output; exit code 0 accepts. `policy export --for containerd` sets it up.

    Example: `reprise admit --policy policy.toml -name registry.example.org/a:1 -digest sha256:…`
    """
    from reprise.admission import INPUT_LIMIT, admit, require_same_image
    from reprise.trust.policy_file import load_policy
    from reprise_trainer.errors import RepriseError
    from reprise_trainer.printable import printable

    try:
        require_same_image(media_type, sys.stdin.buffer.read(INPUT_LIMIT) if media_type else b"", digest)
        reports = admit(name, digest, load_policy(policy, trusted_root), certificates=certificates)
    except RepriseError as error:
        print(f"reprise: {printable(error.message)}")  # containerd shows standard output alone
        raise typer.Exit(error.exit_code) from None
    signed = "; ".join(str(rule) for rule in reports[0].rules if rule.rule.startswith("signed statement"))
    print(f"reprise: the policy holds: {signed}")
