"""`reprise diff`: what differs between two images, or an image and a running root."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.cli.options import IMAGE_HELP, JsonOption, StoreOption

if TYPE_CHECKING:
    from reprise.diff import DiffReport


def command(
    left: Annotated[str, typer.Argument(help=IMAGE_HELP, metavar="LEFT")],
    right: Annotated[
        str, typer.Argument(help="Another image; or a folder: an unpacked root, or /proc/PID/root.", metavar="RIGHT")
    ],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what differs between LEFT and RIGHT: which layer, artifact and file, and what kind of cause it has.

    Exit code 0 when nothing does, 1 otherwise.

    Example: `reprise diff torch-cpu /proc/4711/root`
    """
    from reprise.cli.output import print_json
    from reprise.diff import diff_image_and_root, diff_images
    from reprise.engine.interface import ImageRef
    from reprise.store import Store

    opened = Store.open(store, create=False)
    image = ImageRef(opened, opened.resolve(left))
    if "/" in right or Path(right).is_dir():
        report = diff_image_and_root(image, Path(right))
    else:
        report = diff_images(image, ImageRef(opened, opened.resolve(right)))
    if as_json:
        print_json(report.as_json())
    else:
        print_findings(report)
    if not report.same:
        raise typer.Exit(1)


def print_findings(report: DiffReport) -> None:
    """The findings for people, by layer and artifact."""
    if report.same:
        print(f"same: {report.left}")
        return
    count = len(report.findings)
    print(f"different: {count} {'finding' if count == 1 else 'findings'}")
    print(f"  left   {report.left}\n  right  {report.right}")
    place = None
    for finding in report.findings:
        if place != (finding.layer, finding.artifact):
            place = (finding.layer, finding.artifact)
            print("\n" + (" ".join(part for part in place if part) or "image"))
        path = f"/{finding.path}: " if finding.path else ""
        print(f"  {finding.cause:<12} {path}{finding.detail}")
        for line in finding.lines:
            print(f"      {line}")
    if report.consequences:
        print(f"\n{report.consequences} file lists and inventories repeat this")
