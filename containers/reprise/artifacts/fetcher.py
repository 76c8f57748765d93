"""Fetch what is missing: several artifacts at a time, each from the first place that has the right bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from reprise.artifacts.download import PartialFile, TooLongError, download, partial_file
from reprise.artifacts.fetch import Places
from reprise.artifacts.patience import NoAnswerError, SilentError
from reprise.artifacts.report import Fetched
from reprise.artifacts.sources import Candidate, Source, machine_and_environment_sources, public
from reprise.events import OnEvent
from reprise.lock.model import Artifact, Sources
from reprise.store import Store
from reprise_trainer.errors import InputError, RepriseError, StorageError, UnavailableError

_EVENT_SECONDS = 0.1
"""Time between two progress events of one artifact."""

_LACKS = "does not have it"


class _WrongBytesError(NoAnswerError):
    """A place gave a file with another hash."""


@dataclass(frozen=True, slots=True)
class _Miss:
    """An artifact that nobody gave: one note a place, and whether some place gave other bytes."""

    artifact: Artifact
    notes: tuple[str, ...]
    wrong: bool


def fetch_missing(
    artifacts: Sequence[Artifact],
    store: Store,
    sources: Sources,
    places: Places | None,
    on_event: OnEvent,
    workers: int,
) -> tuple[Fetched, ...]:
    """Bring `artifacts`, which the store lacks, into it; arguments and errors are those of `fetch`."""
    fetcher = _Fetcher(store, places() if places else machine_and_environment_sources(sources), on_event)
    large_first = sorted(artifacts, key=lambda each: each.size or 1 << 62, reverse=True)  # wheels, of unknown size
    results = fetcher.run(large_first, workers)
    misses = [each for each in results if isinstance(each, _Miss)]
    if misses:
        raise _explain_offline(misses, store) if places else _explain(misses)
    return tuple(each for each in results if isinstance(each, Fetched))


@dataclass(slots=True)
class _Fetcher:
    """One fetch: the hosts that are silent, with the reason, and whether it was given up."""

    store: Store
    sources: Sequence[Source]
    on_event: OnEvent
    silent: dict[str, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event)
    speaking: threading.Lock = field(default_factory=threading.Lock)

    def run(self, artifacts: Sequence[Artifact], workers: int) -> list[Fetched | _Miss]:
        with ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="fetch") as pool:
            futures = [pool.submit(self.fetch_one, artifact) for artifact in artifacts]
            try:
                return [future.result() for future in as_completed(futures)]
            except BaseException:
                self.cancelled.set()  # a full disk, or the user's Ctrl-C: the other threads stop within a chunk
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def fetch_one(self, artifact: Artifact) -> Fetched | _Miss:
        with partial_file(self.store.partial(artifact.digest)) as partial:
            keep = True  # an interrupted download goes on next time
            try:
                result = self._from_anywhere(artifact, partial)
                keep = isinstance(result, _Miss) and not result.wrong
                return result
            except StorageError:
                keep = False  # on a full disk what can be fetched again gives way
                raise
            finally:
                if not (keep and partial.size):
                    partial.path.unlink(missing_ok=True)

    def _from_anywhere(self, artifact: Artifact, partial: PartialFile) -> Fetched | _Miss:
        if self.store.has(artifact.digest):  # another process was faster
            return Fetched(artifact.purl, 0, "")
        if partial.sha256 == artifact.sha256:  # killed between the last byte and the store
            return self._keep(artifact, partial, "")
        notes: list[str] = []
        wrong = False
        for source in self.sources:
            if artifact.kind not in source.kinds:
                continue
            count = len(notes)
            try:
                for candidate in source.find(artifact):
                    try:
                        self._from(candidate, artifact, partial)
                        return self._keep(artifact, partial, public(candidate.url))
                    except NoAnswerError as error:
                        notes.append(f"{source.name}: {error}")
                        wrong = wrong or isinstance(error, _WrongBytesError)
            except NoAnswerError as error:
                notes.append(f"{source.name}: {error}")
            if len(notes) == count:
                notes.append(f"{source.name}: {_LACKS}")
        return _Miss(artifact, tuple(notes), wrong)

    def _from(self, candidate: Candidate, artifact: Artifact, partial: PartialFile) -> None:
        """Bring the bytes from `candidate`. Raises NoAnswerError with the address and what is wrong there."""
        host, url, before = urlsplit(candidate.url).netloc, public(candidate.url), partial.size
        if host in self.silent:
            raise NoAnswerError(f"{url} was not asked, its host is silent: {self.silent[host]}")
        try:
            self._download(candidate, artifact, partial)
            if before and partial.sha256 != artifact.sha256:  # the part that was here may have been a wrong one
                partial.empty()
                self._download(candidate, artifact, partial)
        except TooLongError as error:
            raise _WrongBytesError(f"received {error} from {url}") from error
        except NoAnswerError as error:
            if host and isinstance(error, SilentError) and partial.size <= before:
                self.silent[host] = str(error)
            raise NoAnswerError(f"{url}: {error}") from error
        if partial.sha256 != artifact.sha256:
            received = partial.sha256
            partial.empty()
            raise _WrongBytesError(f"received sha256:{received} from {url}")

    def _download(self, candidate: Candidate, artifact: Artifact, partial: PartialFile) -> None:
        said = 0.0

        def progress(size: int, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            if now - said >= _EVENT_SECONDS and size != total:
                said = now
                self._say(artifact, size, total)

        download(candidate, partial, artifact.size, progress, self.cancelled)

    def _keep(self, artifact: Artifact, partial: PartialFile, url: str) -> Fetched:
        size = partial.size
        self.store.add_file(partial.path, artifact.digest)
        self._say(artifact, size, size)
        return Fetched(artifact.purl, size, url)

    def _say(self, artifact: Artifact, size: int, total: int) -> None:
        with self.speaking:
            self.on_event({"event": "fetch", "purl": artifact.purl, "bytes": size, "total": total})


def _explain_offline(misses: Sequence[_Miss], store: Store) -> RepriseError:
    first = next((miss for miss in misses if miss.wrong), misses[0])
    more = f", and {len(misses) - 1} more artifacts," if len(misses) > 1 else ""
    tried = "; ".join(first.notes) or "no archive was named"
    return UnavailableError(
        f"offline, and the store {store.root} lacks {first.artifact.purl} ({first.artifact.digest}){more}: {tried}",
        hint="Name a place that has it with --from: a registry's reference or an OCI layout to which the image was "
        "pushed with its archive (`reprise archive IMAGE`, then `reprise push`); or build once without --offline.",
    )


def _explain(misses: Sequence[_Miss]) -> RepriseError:
    first = next((miss for miss in misses if miss.wrong), misses[0])
    more = f" (and {len(misses) - 1} more artifacts)" if len(misses) > 1 else ""
    tried = "; ".join(first.notes)
    if first.wrong:
        tried = "; ".join(note for note in first.notes if not note.endswith(_LACKS))
        return InputError(
            f"{first.artifact.purl}{more}: expected {first.artifact.digest}; {tried}",
            hint="Nothing of it was kept. Who serves this has another file under the name: ask there, or elsewhere.",
        )
    return UnavailableError(
        f"no place has {first.artifact.purl} with {first.artifact.digest}{more}; asked: {tried}",
        hint="Check the network; configure pip (find-links, index-url) or apt on this machine, or add a source to "
        "[sources] in the environment's TOML: find_links, debian_mirror or directories.",
    )
