"""A `[data]` section → what its reader gives."""

from __future__ import annotations

from reprise.ingest.fashion_mnist import read_fashion_mnist
from reprise.ingest.files import deb_members, stored_file
from reprise.ingest.rows import Reading
from reprise.ingest.text import read_text
from reprise.store import Store
from reprise_trainer.config.data import FashionMnistSection, MadeData, TextSection


def read_data(data: MadeData, store: Store) -> Reading:
    """The rows of a data section, from the store.

    Raises:
        InputError: a file is not what the section says.
        NotFoundError: the store does not hold a file.
        SystemFailureError: a library that the format needs is not installed.
    """
    match data:
        case FashionMnistSection():
            members = deb_members(data, store)
            return read_fashion_mnist({path.rpartition("/")[2]: found for path, found in members.items()})
        case TextSection():
            file = stored_file(data, store)
            return read_text(
                file.path.read_bytes(), file.name, block=data.block, stride=data.stride, encoding=data.encoding
            )
        case _:
            raise NotImplementedError
