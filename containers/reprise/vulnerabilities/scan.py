"""A lock against advisories."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reprise.lock.model import Artifact
from reprise.vulnerabilities.advisory import Advisory, read_database
from reprise.vulnerabilities.match import Finding, Subject, keys_of, match, subject_of
from reprise.vulnerabilities.severity import Severity, is_at_least
from reprise_trainer.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan of `target` found. `covered` and `uncovered` count packages by ecosystem; the uncovered ones are
    those of which the data knows nothing at all, so that nothing can be said about them."""

    target: str
    source: str
    findings: tuple[Finding, ...]
    covered: tuple[tuple[str, int], ...]
    uncovered: tuple[tuple[str, int], ...]

    def failing(self, threshold: Severity) -> list[Finding]:
        """The findings that count at a threshold and that nobody decided to ignore."""
        return [each for each in self.findings if not each.ignored and is_at_least(each.severity, threshold)]


def scan_with_database(target: str, artifacts: Iterable[Artifact], folder: Path) -> ScanReport:
    """Match artifacts with a folder of OSV files.

    Args:
        target: what is scanned, for people.
        artifacts: the locked artifacts.
        folder: OSV JSON files, as an OSV export unpacks to; any depth.

    Raises:
        NotFoundError: the folder holds no advisories.
        InputError: a file in it is malformed.
        UnavailableError: no advisory is about any ecosystem of the artifacts.
    """
    subjects = [subject for each in artifacts if (subject := subject_of(each)) is not None]
    known: set[str] = set()
    by_name: dict[tuple[str, str], list[Advisory]] = defaultdict(list)
    wanted = {(subject.ecosystem, subject.name) for subject in subjects}
    for advisory in read_database(folder):
        known |= _ecosystems(advisory)
        for key in {key for each in advisory.affected for key in keys_of(each)} & wanted:
            by_name[key].append(advisory)
    findings = [found for each in subjects for found in match(each, by_name[each.ecosystem, each.name])]
    return report(target, f"database {folder}", subjects, known, findings)


def report(
    target: str, source: str, subjects: Sequence[Subject], known: set[str], findings: Iterable[Finding]
) -> ScanReport:
    """The report of a scan whose data is about the ecosystems in `known`.

    Raises:
        UnavailableError: there is no data for any of the subjects.
    """
    counts = Counter(subject.ecosystem for subject in subjects)
    covered = tuple(sorted((name, count) for name, count in counts.items() if name in known))
    if not covered:
        raise UnavailableError(
            f"{source} has no data about {', '.join(sorted(counts)) or 'anything'}: {target} was not scanned",
            hint="Name a database that covers these ecosystems.",
        )
    uncovered = tuple(sorted((name, count) for name, count in counts.items() if name not in known))
    return ScanReport(target, source, tuple(findings), covered, uncovered)


def _ecosystems(advisory: Advisory) -> set[str]:
    named = {each.ecosystem for each in advisory.affected}
    return named | {"conda" for each in advisory.affected if each.purl.startswith("pkg:conda/")}
