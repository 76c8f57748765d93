"""The launcher's end of a feed: a socket at which the trainer asks for shards, as `reprise_trainer.data.feed` says."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from reprise.feed.cache import ShardCache
from reprise_trainer.data.feed import BEAT_SECONDS, LINE_LIMIT, decode_line, encode_line, socket_address
from reprise_trainer.durable import storage_error
from reprise_trainer.errors import RepriseError


class _Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    cache: ShardCache
    room: int


class _Conversation(socketserver.StreamRequestHandler):
    """One process of the run; each is a user of its own."""

    server: _Listener

    def handle(self) -> None:
        self._saying, over, user = threading.Lock(), threading.Event(), id(self)
        self._say({"room": self.server.room})
        threading.Thread(target=self._beat, args=(over,), daemon=True).start()
        try:
            while True:
                self._answer(decode_line(self.rfile.readline(LINE_LIMIT)), user)
        except (EOFError, OSError, ValueError):
            pass  # it has ended, or speaks no language of ours
        finally:
            over.set()
            self.server.cache.leave(user)

    def _answer(self, document: Mapping[str, Any], user: int) -> None:
        if isinstance(name := document.get("done"), str):
            self.server.cache.done(name, user)
        if isinstance(name := document.get("need"), str):
            try:
                brought = self.server.cache.need(name, user)
            except RepriseError as error:
                self._fail(name, error)
            else:
                brought.add_done_callback(partial(self._report, name))

    def _report(self, name: str, brought: Future[None]) -> None:
        try:
            brought.result()
        except RepriseError as error:
            self._fail(name, error)
        except Exception as error:  # whatever it is, the run must not wait for ever
            self._fail(name, RepriseError(f"{type(error).__name__}: {error}"))
        else:
            self._say({"here": name})

    def _fail(self, name: str, error: RepriseError) -> None:
        message = f"shard {name}: {error.message}"[: LINE_LIMIT // 8]
        self._say({"failed": name, "message": message, "exit_code": error.exit_code})

    def _say(self, document: Mapping[str, Any]) -> None:
        with self._saying, suppress(OSError, ValueError):  # who has ended hears nothing
            self.request.sendall(encode_line(document))

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(BEAT_SECONDS):
            self._say({})


@contextmanager
def serving(socket: Path, cache: ShardCache, room: int) -> Iterator[None]:
    """Listen at `socket` for the length of the block.

    Args:
        cache: what is asked.
        room: bytes of shards that each process of the run may keep here.

    Raises:
        StorageError: the socket can't be made.
    """
    try:
        with socket_address(socket) as address:
            server = _Listener(address, _Conversation)
        socket.chmod(0o666)  # its folder is private; inside the image, root need not be the folder's owner
    except OSError as error:
        raise storage_error(error, socket) from error
    server.cache, server.room = cache, room
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
