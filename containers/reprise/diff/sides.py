"""The two sides of a comparison: paths with their layers, read as far as the sides are not known to be equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reprise.diff.content import MAX_BYTES, Node, Tree, read_files, read_layer
from reprise.diff.owners import Owners, names_owners, read_owners
from reprise.engine.interface import ImageRef, Layer
from reprise.stored_image import read_inventory
from reprise_trainer.errors import RepriseError

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class NamedLayer:
    """A layer and what the report calls it: its name in the image's inventory, else its place."""

    name: str
    layer: Layer


@dataclass(frozen=True, slots=True)
class Side:
    """What one side holds, as far as it was read: each layer's tree, and for each path its layer and node. `read` gives
    the bytes of files, for those that are small enough to be looked into."""

    layers: Mapping[str, Tree]
    paths: Mapping[str, tuple[str, Node]]
    owners: Owners
    read: Callable[[Collection[str]], Mapping[str, bytes]]


def named_layers(image: ImageRef) -> list[NamedLayer]:
    """An image's layers, lowest first. An image that `reprise` did not build has layers without names."""
    layers = image.layers()
    try:
        names = [layer.name for layer in read_inventory(image.store, image.digest).layers] + ["inventory"]
    except RepriseError:
        names = [f"layer {number}" for number in range(1, len(layers) + 1)]
    return [NamedLayer(name, layer) for name, layer in zip(names, layers, strict=True)]


def in_one_only(layers: Sequence[NamedLayer], others: Sequence[NamedLayer]) -> list[NamedLayer]:
    """The layers whose uncompressed tar is not also a layer of the other image."""
    common = Counter(each.layer.diff_id for each in others)
    found = []
    for each in layers:
        if common[each.layer.diff_id]:
            common[each.layer.diff_id] -= 1
        else:
            found.append(each)
    return found


def layers_side(image: ImageRef, layers: Iterable[NamedLayer]) -> Side:
    """What these layers of an image hold, one on top of the other; marks of removed paths are shown as paths."""
    trees: dict[str, Tree] = {}
    paths: dict[str, tuple[str, Node]] = {}
    by_name = {each.name: each.layer for each in layers}
    for name, layer in by_name.items():
        trees[name] = read_layer(image.store, layer)
        paths.update({path: (name, node) for path, node in trees[name].items()})

    def read(wanted: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name, layer in by_name.items():
            if here := [path for path in wanted if path in paths and paths[path][0] == name]:
                found.update(read_files(image.store, layer, here))
        return found

    return Side(trees, paths, _owners(paths, read), read)


def image_side(image: ImageRef) -> Side:
    """What a container of the image sees: all layers, with what upper layers remove removed (OCI image spec, layer.md,
    "whiteouts")."""
    side = layers_side(image, named_layers(image))
    seen: dict[str, tuple[str, Node]] = {}
    for name, tree in side.layers.items():
        for path in tree:
            folder, _, last = path.rpartition("/")
            if last == _OPAQUE:
                _remove_below(seen, folder)
            elif last.startswith(_WHITEOUT):
                gone = f"{folder}/{last.removeprefix(_WHITEOUT)}".lstrip("/")
                seen.pop(gone, None)
                _remove_below(seen, gone)
        seen.update(
            {path: (name, node) for path, node in tree.items() if _WHITEOUT not in f"/{path}".rpartition("/")[2][:4]}
        )
    return Side(side.layers, seen, side.owners, side.read)


def root_side(root: Path, tree: Tree) -> Side:
    """What a folder holds; it has no layers."""

    def read(wanted: Collection[str]) -> dict[str, bytes]:
        found = {}
        for path in wanted:
            node = tree.get(path)
            if node and node.type == "file" and node.size <= MAX_BYTES:
                found[path] = (root / path).read_bytes()
        return found

    return Side({}, {path: ("", node) for path, node in tree.items()}, {}, read)


def _remove_below(seen: dict[str, tuple[str, Node]], folder: str) -> None:
    for path in [path for path in seen if path.startswith(f"{folder}/" if folder else "")]:
        del seen[path]


def _owners(paths: Mapping[str, object], read: Callable[[Collection[str]], Mapping[str, bytes]]) -> Owners:
    return read_owners(read([path for path in paths if names_owners(path)]))
