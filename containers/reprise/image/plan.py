"""Jobs → what each layer will hold: its entries, what comes late, and the sources to compile. No file is written."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from reprise.image.base import base_entries
from reprise.image.bytecode import is_compiled
from reprise.image.conda import CondaPackage, read_conda
from reprise.image.conda_scripts import PackageScript
from reprise.image.deb import read_deb
from reprise.image.entries import Entry, merge
from reprise.image.format import PythonLayout
from reprise.image.job import LayerJob
from reprise.image.source import read_source
from reprise.image.wheel import Wheel, read_wheel


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One layer to be written.

    `recorded` are the packages whose record follows from their files' hashes, `sources` the entries that get bytecode,
    both in the order of the layer; `scripts` are conda packages'.
    """

    job: LayerJob
    entries: tuple[Entry, ...]
    recorded: tuple[Wheel | CondaPackage, ...]
    sources: tuple[Entry, ...]
    scripts: tuple[PackageScript, ...]

    @property
    def size(self) -> int:
        """Bytes of all files, without bytecode and what the writer adds."""
        return sum(entry.size for entry in self.entries)


def plan_layers(jobs: Sequence[LayerJob], layout: PythonLayout, executor: Executor, spool: Path) -> list[LayerPlan]:
    """Read the directories of all artifacts (packages whole), several at a time.

    Args:
        jobs: the layers.
        layout: where the image's Python looks.
        executor: of threads.
        spool: an existing folder for what is too large for memory; nothing in it has a name.

    Raises:
        InputError: an artifact is malformed, or two of one layer own a path with different content.
    """
    # By purl: the order in which a job names its artifacts changes nothing.
    reading = [[executor.submit(_read, job, *each, layout, spool) for each in sorted(job.artifacts)] for job in jobs]
    return [_plan(job, parts, layout) for job, parts in zip(jobs, reading, strict=True)]


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    entries: tuple[Entry, ...]
    recorded: Wheel | CondaPackage | None = None


def _read(job: LayerJob, purl: str, path: Path, layout: PythonLayout, spool: Path) -> _Part:
    match job.kind:
        case "wheel":
            wheel = read_wheel(path, purl, layout)
            return _Part(purl, wheel.entries, wheel)
        case "conda":
            package = read_conda(path, purl, layout, winners=dict(job.winners), spool=spool)
            return _Part(purl, package.entries, package)
        case "deb":
            return _Part(purl, tuple(read_deb(path, purl)))
        case "source":
            return _Part(purl, tuple(read_source(path, purl, layout)))
        case "base":
            raise AssertionError("the base layer has no artifacts that can be read")


def _plan(job: LayerJob, reading: Sequence[Future[_Part]], layout: PythonLayout) -> LayerPlan:
    parts = [each.result() for each in reading]
    owned = [(part.name, part.entries) for part in parts]
    if job.kind == "base":
        owned.append(("the base layer", tuple(base_entries())))
    entries = tuple(merge(owned))
    sources = tuple(entry for entry in entries if is_compiled(entry, layout))
    recorded = sorted((part.recorded for part in parts if part.recorded), key=lambda each: each.record_path.encode())
    scripts = tuple(script for each in recorded if isinstance(each, CondaPackage) for script in each.scripts)
    return LayerPlan(job, entries, tuple(recorded), sources, scripts)
