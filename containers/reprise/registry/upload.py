"""Blobs → registry: mount what another repository has, send the rest in chunks, go on where a connection dropped.

Source: OCI distribution spec v1.1, "Pushing a blob in chunks", "Mounting a blob from another repository".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from reprise.artifacts.headers import header_number
from reprise.artifacts.patience import NoAnswerError, SilentError, persistently, refuse_busy
from reprise.lock.session import TIMEOUT
from reprise.registry.connection import read_body, refusal, silent
from reprise.registry.redirects import safe_target
from reprise.registry.repository import Repository
from reprise_trainer.errors import InputError

CHUNK = 64 << 20
"""Bytes of one PATCH request: some proxies refuse bodies of 100 MB and more."""

_PIECE = 1 << 20
_TAKEN = (201, 202, 204)
"""The spec's answer to a chunk is 202, some registries' another."""
_NO_MOUNT = (400, 401, 403, 404, 405)
"""A registry that mounts nothing should open an upload (202); some refuse. Then it is asked for an upload alone."""
_RANGE = re.compile(r"(?:bytes=)?0-([0-9]{1,18})\Z")


def upload_blob(
    repository: Repository,
    path: Path,
    digest: str,
    size: int,
    *,
    mount_from: str = "",
    on_progress: Callable[[int], None] = lambda sent: None,
) -> bool:
    """Give a blob to a repository that does not have it.

    Args:
        path: the file with its bytes.
        size: of the file, in bytes.
        mount_from: another repository of this registry that is believed to have it.
        on_progress: told the bytes that the registry has so far.

    Returns:
        Whether it was mounted, without sending a byte.

    Raises:
        InputError: the registry refuses it; where the file is damaged, its digest does not fit.
        UnavailableError: the registry does not answer, or denies access.
    """
    if mount_from:
        query = f"?mount={digest}&from={mount_from}"
        answer = repository.registry.ask("POST", open_upload(repository) + query, (201, 202, *_NO_MOUNT))
        if answer.status_code == 201:
            on_progress(size)
            return True
    if not mount_from or answer.status_code in _NO_MOUNT:
        answer = repository.registry.ask("POST", open_upload(repository), (202,))
    _Upload(repository, path, digest, size, answer, on_progress).send()
    return False


def open_upload(repository: Repository) -> str:
    """The address that a POST request opens an upload with."""
    return f"{repository.registry.address}/v2/{repository.name}/blobs/uploads/"


class _Upload:
    """An upload that the registry has opened: where it goes on, and how far it is."""

    def __init__(
        self,
        repository: Repository,
        path: Path,
        digest: str,
        size: int,
        opened: requests.Response,
        on_progress: Callable[[int], None],
    ) -> None:
        self._repository, self._registry = repository, repository.registry
        self._path, self._digest, self._size = path, digest, size
        self._on_progress = on_progress
        self._offset = 0
        self._opened(opened)
        self._lost = False  # whether the registry has to be asked how far it came

    def send(self) -> None:
        try:
            persistently(self._go_on, lambda: self._offset, time.sleep)
        except NoAnswerError as error:
            raise silent(self._registry.host, error) from error

    def _go_on(self) -> None:
        if self._lost and not self._ask_offset():
            if self._repository.has_blob(self._digest, self._size):
                return  # only the last answer was lost
            self._opened(self._request("POST", open_upload(self._repository), (202,)))
        self._lost = True
        while self._size - self._offset > self._chunk:
            self._patch(self._chunk)
        if self._offset:
            self._patch(self._size - self._offset)
        # What fits into one request is sent with the last question itself
        headers = {"Content-Type": "application/octet-stream"}
        url = self._location + ("&" if "?" in self._location else "?") + f"digest={self._digest}"
        body = _Body(self._path, self._offset, self._size - self._offset, self._on_progress)
        self._request("PUT", url, (201, 204), data=body if len(body) else b"", headers=headers)

    def _patch(self, length: int) -> None:
        if not length:
            return
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{self._offset}-{self._offset + length - 1}",
        }
        body = _Body(self._path, self._offset, length, self._on_progress)
        answer = self._request("PATCH", self._location, _TAKEN, data=body, headers=headers)
        self._moved_to(answer)
        received = self._received(answer, self._offset + length)
        if received <= self._offset:
            raise SilentError(f"it took none of {length} bytes, and has {received} of the blob")
        self._offset = received

    def _ask_offset(self) -> bool:
        """Whether the upload can go on, and where: the registry knows it, and has more than a byte of it for sure."""
        answer = self._request("GET", self._location, (204, 404))
        if answer.status_code == 404:
            return False
        self._moved_to(answer)
        self._offset = self._received(answer, 0)
        return self._offset > 0

    def _request(self, method: str, url: str, expected: tuple[int, ...], **options: object) -> requests.Response:
        answer = self._registry.session.request(method, url, timeout=TIMEOUT, stream=True, **options)  # type: ignore[arg-type]
        refuse_busy(answer)
        if answer.status_code == 416:  # the registry is at another place than we think
            raise SilentError("it lost its place in the upload")
        if answer.status_code == 404 and method in ("PATCH", "PUT"):
            raise SilentError("it forgot the upload")
        if answer.status_code not in expected:
            raise refusal(self._registry.host, method, url, answer)
        read_body(answer, _PIECE, "the registry's answer to an upload")
        return answer

    def _opened(self, answer: requests.Response) -> None:
        """Begin at the place that the registry gives for a new upload. Raises InputError where it gives none."""
        if not answer.headers.get("Location"):
            raise InputError(f"the registry {self._registry.host} opens an upload and does not say where (no Location)")
        least = answer.headers.get("OCI-Chunk-Min-Length")
        if least and header_number(answer, "OCI-Chunk-Min-Length") is None:
            raise InputError(
                f"the registry {self._registry.host} wants chunks of at least {least[:100]!r} bytes, which is no number"
            )
        self._chunk = max(CHUNK, header_number(answer, "OCI-Chunk-Min-Length") or 0)
        self._moved_to(answer)
        self._offset = 0

    def _moved_to(self, answer: requests.Response) -> None:
        if location := answer.headers.get("Location"):
            self._location = safe_target(answer.url, location)

    def _received(self, answer: requests.Response, otherwise: int) -> int:
        """Bytes that the registry has; a Range of 0-0, which may mean none or one, counts as none."""
        match = _RANGE.match(answer.headers.get("Range", ""))
        if match is None:
            return otherwise
        count = int(match[1]) + 1 if int(match[1]) else 0
        if count > self._size:
            raise InputError(f"the registry {self._registry.host} has more bytes of {self._digest} than there are")
        return count


class _Body:
    """A stretch of a file as a request's body: its length is known, and it can be sent again from its beginning."""

    def __init__(self, path: Path, start: int, length: int, on_progress: Callable[[int], None]) -> None:
        self._path, self._start, self._length, self._on_progress = path, start, length, on_progress

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        left = self._length
        with self._path.open("rb", buffering=0) as file:
            file.seek(self._start)
            while left:
                piece = file.read(min(_PIECE, left))
                if not piece:
                    raise InputError(f"{self._path} became shorter while it was sent")
                left -= len(piece)
                yield piece
                self._on_progress(self._start + self._length - left)
