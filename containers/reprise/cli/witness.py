"""`reprise witness`: have a log and a time stamper vouch for what is signed already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reprise.cli.options import JsonOption, PolicyOption, StoreOption


def command(
    subject: Annotated[
        str,
        typer.Argument(
            help="An image in the store (name, pulled reference or digest), or a run: its folder, its "
            "record.sigstore.json, or its digest.",
            metavar="IMAGE|RUN",
        ),
    ],
    store: StoreOption = None,
    policy: PolicyOption = None,
    trust_config: Annotated[
        Path | None,
        typer.Option("--trust-config", help="Which Sigstore; by default the public one.", metavar="FILE"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is lacking, and ask nobody.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Add what a signature lacks: an entry in a transparency log, a time stamp. The signature stays as it is.

    A service that does not answer is asked again for some time, then the command ends with exit code 69; what was added
    until then is kept, and the next call asks for the rest. Statements about an image are witnessed where the policy's
    keys signed them, a run's record where its delegation does.

    Example: `reprise witness torch-cpu`
    """
    from reprise.cli.output import print_json
    from reprise.store import Store
    from reprise.trust.keyless_signer import read_trust_config
    from reprise.trust.keys import home
    from reprise.trust.policy_file import POLICY_FILE, load_policy
    from reprise.trust.proofs import SigstoreProofs
    from reprise.trust.witness import Witnesses
    from reprise.trust.witness_services import services_of
    from reprise.witness import is_run, witness_image, witness_run
    from reprise_trainer.errors import UnavailableError

    opened = Store.open(store, create=False)
    rules = load_policy(policy or home() / POLICY_FILE)
    # A misspelt name is said before anybody is asked.
    image = None if is_run(subject, opened) else opened.resolve(subject)
    config = read_trust_config(trust_config, offline=dry_run)
    witnesses = Witnesses(services_of(config), SigstoreProofs.of(config.trusted_root), ask=not dry_run)
    if image is None:
        report = witness_run(subject, opened, rules, witnesses)
    else:
        report = witness_image(opened, image, rules, witnesses)
    if as_json:
        print_json(report.as_json())
    else:
        for place, each in report.statements:
            print(f"{each.predicate_type} by {each.by}\n  log {each.log}, time {each.time}  {place}")
            if each.why:
                print(f"  {each.why}")
        if report.passed_over:
            print(f"{report.passed_over} passed over: by nobody whom the policy knows")
    if report.failed:
        raise typer.Exit(UnavailableError.exit_code)
