"""What runs inside our derivations: one job → `$out`. Any Python from 3.11 on starts it; standard library alone.

A job is a JSON document, with its kind under `make`:

- `wheel`: a wheel that only pip can find
- `python`: the image's Python, unpacked
- `source`: the canonical archive of a folder of sources
- `layer`: one layer, with its file list and its record
- `image`: layers → an OCI layout, as `reprise build` has it in its store; layers are links into the Nix store
- `layout`: an image's layout with the artifacts that a rebuild and a run need, all as links
- `digest-check`: nothing, if the lock gives the environment image that it should

`lock` is a lock's documents by file name, cut down to what the job follows from; `artifacts` are files by sha256.

What makes images is imported for them alone: a derivation of a layer does not have it, so no change there moves layers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from reprise_trainer.errors import InputError, RepriseError


def main(job_path: str, out_path: str) -> int:
    """Do a derivation's job; a failure is one message on standard error.

    Args:
        job_path: the job's file, which Nix names in `$jobPath`.
        out_path: what to make, which Nix names in `$out`.

    Returns:
        The exit status.
    """
    try:
        _make(json.loads(Path(job_path).read_bytes()), Path(out_path))
    except (RepriseError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


def _make(job: dict[str, Any], out: Path) -> None:
    match job["make"]:
        case "python" | "source" | "layer":
            from reprise.nix import layer

            layer.make(job, out)
        case "image" | "layout" | "digest-check":
            from reprise.nix import image

            image.make(job, out)
        case "wheel":
            from reprise.nix.wheel import fetch_wheel

            fetch_wheel(job["fileName"], job["findLinks"], job["certificates"], out)
        case other:
            raise InputError(f"no derivation makes {other!r}")
