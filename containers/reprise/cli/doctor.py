"""`reprise doctor`: whether this machine has what runs need."""

from __future__ import annotations

from typing import Annotated

import typer

from reprise.cli.options import CertificatesOption, JsonOption, KeyOption, PolicyOption, StoreOption


def command(
    image: Annotated[
        str,
        typer.Argument(
            help="A reference, to ask its registry, or an image in the store, for its need of CUDA.", metavar="[IMAGE]"
        ),
    ] = "",
    store: StoreOption = None,
    policy: PolicyOption = None,
    key: KeyOption = None,
    certificates: CertificatesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at what runs need of this machine: each line is ok, warning or problem, and says what to do.

    Engines, kernel, disk, clock, registry, NVIDIA's driver, CPU, policy and key. What can be tried is tried; nothing is
    changed. Exit code 0 only without problems.

    Example: `reprise doctor registry.example.org/team/torch-cuda:1 --policy policy.toml`
    """
    from reprise.cli.output import print_json
    from reprise.doctor.examine import examine

    found = examine(image, store=store, policy_file=policy, key_file=key, certificates=certificates)
    if as_json:
        print_json(found.as_json())
    else:
        width = max(len(each.name) for each in found.findings)
        for each in found.findings:
            print(f"{each.state:<7}  {each.name:<{width}}  {each.what}")
            if each.todo:
                print(f"{'':<7}  {'':<{width}}  → {each.todo}")
    if not found.is_healthy:
        raise typer.Exit(1)
