"""The stage report by a function of the user's own: called once a record, and what it left is remembered by digest.

A record is another one after each attempt (times, resources, attempts), so a report that was written from an
earlier record is never taken for one of this record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.config.read import RunConfig
from reprise_trainer.training.records.record import RunRecord
from reprise_trainer.training.records.results import RESULTS, keep_result, stage_key

REPORT = "report"


def write_own_report(
    function: Callable[[Mapping[str, Any], Path], None], record: RunRecord, config: RunConfig, output: Path
) -> None:
    """Call the user's function, and keep the sha256 of each file that it has written or changed in the run's folder.

    Raises:
        StorageError: that can't be kept.
    """
    before = _files(output)
    function(record.model_dump(mode="json"), output)
    left = [name for name, seen in _files(output).items() if before.get(name) != seen]
    files = {name: hashlib.sha256((output / name).read_bytes()).hexdigest() for name in left}
    keep_result(output, REPORT, report_key(record, config), {"files": files})


def report_key(record: RunRecord, config: RunConfig) -> str:
    """The digest of what a report of the user's own follows from: the record above all."""
    section = config.stages.report if config.stages else None
    return stage_key(
        REPORT,
        image=record.image.digest,
        code=config.code.sha256 if config.code else "",
        inputs={"record": sha256_digest(canonical_json(record.model_dump(mode="json")))},
        settings={"report": section.model_dump(mode="json") if section else None},
    )


def _files(folder: Path) -> dict[str, tuple[int, ...]]:
    """Path → inode, size and time of change of every file in a run's folder but the kept results."""
    found: dict[str, tuple[int, ...]] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != RESULTS:
            seen = path.stat()
            found[str(name)] = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
    return found
