"""An image is unpacked while it is pulled: its largest layer as its bytes come in, each other one once it is here.

What comes in is verified by whoever pulls. Nothing appears in `unpacked_folder` before both digests of a layer, that of
its blob and its diff_id, were found right. All of this only saves time: what could not be unpacked on the way is
unpacked, or refused with its reason, by `unpack_layers` afterwards.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager

from reprise.engine.interface import Layer, layers_of
from reprise.engine.unpack import WORTH_PROCESSES, folder_name, make_unpacked_folder, only_unpacker, processors
from reprise.engine.unpackers import Unpack, unpackers
from reprise.events import OnEvent
from reprise.store import Store
from reprise_trainer.errors import InputError


@contextmanager
def unpacked_on_arrival(store: Store, on_event: OnEvent) -> Iterator[ArrivingImage]:
    """What a pull tells of an image's arrival, for the length of the block. At its end all that came is unpacked.

    While it lasts, nobody else unpacks into this store; where somebody does already, nothing is unpacked on arrival.
    """
    with ExitStack() as stack:
        arriving = ArrivingImage(store, on_event, stack)
        yield arriving
        arriving.wait()


class ArrivingImage:
    """See `reprise.registry.pull.Arrival`."""

    def __init__(self, store: Store, on_event: OnEvent, stack: ExitStack) -> None:
        self._store = store
        self._on_event = on_event
        self._stack = stack
        self._unpack: Unpack | None = None
        self._waiting: dict[str, Layer] = {}
        self._followed: dict[str, threading.Event] = {}
        self._results: list[Future[None]] = []

    def begin(self, manifest: bytes) -> None:
        """The manifest is known and the config is in the store; the layers are asked for from now on."""
        document = json.loads(manifest)
        try:
            layers = layers_of(document, self._store.read(document["config"]["digest"]), "the image")
        except InputError:
            return  # said when it is unpacked
        folder = make_unpacked_folder(self._store)
        missing = [each for each in layers if not (folder / folder_name(each)).is_dir()]
        if sum(each.size for each in missing) < WORTH_PROCESSES:
            return
        try:
            lock = self._stack.enter_context(only_unpacker(folder, wait=False))
        except BlockingIOError:
            return
        count = min(processors(), len(missing))
        self._unpack = self._stack.enter_context(unpackers(folder, count, self._on_event, lock=lock))
        self._waiting = {each.digest: each for each in missing}
        largest = max(missing, key=lambda each: each.size)
        if not self._store.has(largest.digest):
            self._followed[largest.digest] = threading.Event()
            self._begin(largest)

    def whole(self, digest: str) -> None:
        """A blob's bytes are here and verified: in the store, or on their way there from its partial downloads."""
        if digest in self._followed:
            self._followed[digest].set()
        elif layer := self._waiting.pop(digest, None):
            self._begin(layer)

    def wait(self) -> None:
        """Wait for what was begun."""
        for result in self._results:
            result.exception()  # said by `unpack_layers`, which tries again

    def _begin(self, layer: Layer) -> None:
        assert self._unpack
        files = [self._store.partial(layer.digest), self._store.place(layer.digest)]
        self._results.append(self._unpack(layer, files, self._followed.get(layer.digest)))
