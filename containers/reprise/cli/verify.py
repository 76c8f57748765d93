"""`reprise verify`: judge an image in the store by a policy."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from reprise.cli.options import ImageArgument, JsonOption, PlatformOption, PolicyOption, StoreOption, TrustedRootOption


def command(
    image: ImageArgument,
    store: StoreOption = None,
    policy: PolicyOption = None,
    trusted_root: TrustedRootOption = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="UTC time, as 2026-01-31T12:00:00Z, at which keys and policy must not have ended; by default now.",
            metavar="TIME",
        ),
    ] = None,
    accept_older: Annotated[
        bool, typer.Option("--accept-older", help="Let a tag go back to an image that was accepted under it before.")
    ] = False,
    platform: PlatformOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge IMAGE by a policy, offline: each rule holds or fails, and why. Exit code 0 only when all hold.

    A rule that the policy requires and nothing checks does not hold. What is accepted under a pulled tag is remembered,
    and a tag that leads back to an older image later fails. Of an index every image must hold too, or one (--platform).

    Example: `reprise verify torch-cpu --policy policy.toml`
    """
    from reprise.cli.output import print_json
    from reprise.store import Store
    from reprise.trust.keys import home
    from reprise.trust.policy_file import POLICY_FILE, load_policy
    from reprise.trust.verify import remember
    from reprise.trust.verify_index import verify_whole
    from reprise_trainer.errors import StorageError
    from reprise_trainer.identity.delegation import read_time

    judged_at = read_time(at, "--at") if at is not None else None
    opened = Store.open(store, create=False)
    rules = load_policy(policy or home() / POLICY_FILE, trusted_root)
    digest = opened.resolve(image)
    whole = verify_whole(
        opened, digest, rules, name=image, at=judged_at, accept_older=accept_older, platform=platform or ""
    )
    if whole.holds:
        try:
            remember(opened, whole.report)
        except StorageError as error:  # a store on read-only storage: the answer is the same
            print(f"warning: not remembered: {error}", file=sys.stderr)
    if as_json:
        print_json(whole.as_json())
    else:
        for report in whole.reports():
            print(f"image {report.image}")
            for each in report.rules:
                print(f"  {each.outcome:<11}  {each}")
    if not whole.holds:
        raise typer.Exit(1)
