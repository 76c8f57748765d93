"""`reprise verify`: judge an image in the store by a policy."""

from __future__ import annotations

from typing import Annotated

import typer

from reprise.cli.options import JsonOption, PolicyOption, StoreOption


def command(
    image: Annotated[str, typer.Argument(help="Environment name or digest of an image in the store.")],
    store: StoreOption = None,
    policy: PolicyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge IMAGE by a policy, offline: each rule holds or fails, and why. Exit code 0 only when all hold.

    Example: `reprise verify torch-cpu --policy policy.toml`
    """
    from reprise.cli.output import print_json
    from reprise.store import Store
    from reprise.trust.keys import home
    from reprise.trust.policy_file import POLICY_FILE, load_policy
    from reprise.trust.verify import verify_image

    opened = Store.open(store, create=False)
    report = verify_image(opened, opened.resolve(image), load_policy(policy or home() / POLICY_FILE))
    if as_json:
        print_json(report.as_json())
    else:
        print(f"image {report.image}")
        for each in report.rules:
            print(f"  {each.outcome:<11}  {each.rule}: {each.why}")
    if not report.holds:
        raise typer.Exit(1)
