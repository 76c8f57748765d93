"""What the host asks of the builder and what it gets back: plain values, sent as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reprise.image.conda_scripts import PackageScript
from reprise.image.format import KINDS, MEDIA_TYPES, Kind, PythonLayout
from reprise.image.formats import DEFAULT_FORMAT, image_format
from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.errors import InputError

FORMAT = 2
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class LayerJob:
    """A layer to build: `artifacts` are pairs of package URL and file. Kind `base` has none, `source` has one.

    `winners` are, for kind `conda`, pairs of a path below the prefix and the package whose file is the image's, where
    several packages own the path.
    """

    name: str
    kind: Kind
    artifacts: tuple[tuple[str, Path], ...] = ()
    winners: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """A layer in the output folder: descriptor (`media_type`, `digest`, `size` in bytes), `diff_id`, file list.

    `scripts` are those of its conda packages: the image's environment follows from them.
    """

    name: str
    media_type: str
    digest: str
    size: int
    diff_id: str
    list_digest: str
    list_path: Path
    blob_path: Path
    scripts: tuple[PackageScript, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildJob:
    """All that one run of the builder does. `output` exists and belongs to this run alone; `layout` and `format` are
    the image's."""

    layers: tuple[LayerJob, ...]
    output: Path
    workers: int
    layout: PythonLayout
    compression: str = "zstd"
    format: int = DEFAULT_FORMAT


def layer_key(
    name: str,
    kind: Kind,
    artifacts: Iterable[tuple[str, str]],
    python_digest: str,
    compression: str = "zstd",
    format: int = DEFAULT_FORMAT,
    *,
    layout: PythonLayout | None = None,
    winners: Iterable[tuple[str, str]] = (),
) -> str:
    """The name of everything that a layer's bytes follow from, for caches.

    Args:
        name: the layer's name: the path of its file list holds it.
        kind: how its artifacts are read.
        artifacts: pairs of package URL and sha256 (bare hex), in any order.
        python_digest: `ImagePython.digest`: interpreter and compressor.
        compression: a key of `format.MEDIA_TYPES`.
        format: number of the image format.
        layout: where the image's Python looks; None where that is Debian's.
        winners: see `LayerJob`.

    Returns:
        64 hex digits.
    """
    key: dict[str, Any] = {
        "format": format,
        "name": name,
        "kind": kind,
        "artifacts": sorted([purl, sha256] for purl, sha256 in artifacts),
        "python": python_digest,
        "compression": compression,
    }
    if layout is not None and (layout.site_packages or kind == "conda"):
        key["layout"] = asdict(layout)
    if kind == "conda":
        key["winners"] = sorted(winners)
    return sha256_digest(canonical_json(key)).removeprefix("sha256:")


def encode_job(job: BuildJob) -> bytes:
    """One line of JSON for the builder's standard input."""
    layers = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "artifacts": [[purl, str(path)] for purl, path in layer.artifacts],
            "winners": [list(pair) for pair in layer.winners],
        }
        for layer in job.layers
    ]
    document = {
        "format": FORMAT,
        "layers": layers,
        "output": str(job.output),
        "workers": job.workers,
        "layout": asdict(job.layout),
        "compression": job.compression,
        "image_format": job.format,
    }
    return canonical_json(document) + b"\n"


def decode_job(data: bytes) -> BuildJob:
    """The job in `data`.

    Raises:
        InputError: it is no job of this format, or names something that it must not.
    """
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise InputError(f"the build job has format {document['format']!r}, this builder reads format {FORMAT}")
        job = BuildJob(
            layers=tuple(_decode_layer(layer) for layer in document["layers"]),
            output=Path(document["output"]),
            workers=int(document["workers"]),
            layout=PythonLayout(**document["layout"]),
            compression=document["compression"],
            format=int(document["image_format"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not a build job: {error!r}") from error
    check_job(job)
    return job


def _decode_layer(layer: dict[str, Any]) -> LayerJob:
    artifacts = tuple((purl, Path(path)) for purl, path in layer["artifacts"])
    return LayerJob(layer["name"], layer["kind"], artifacts, tuple((path, name) for path, name in layer["winners"]))


def encoded_scripts(scripts: Iterable[PackageScript]) -> list[dict[str, str]]:
    """Scripts of conda packages as values of JSON: so the builder hands them over, and a cache keeps them."""
    return [asdict(each) for each in scripts]


def decode_scripts(documents: Iterable[Mapping[str, str]]) -> tuple[PackageScript, ...]:
    """The scripts that `encoded_scripts` gave."""
    return tuple(PackageScript(**each) for each in documents)


def check_job(job: BuildJob) -> None:
    """Refuse a job that no builder could do.

    Raises:
        InputError: a wrong name, kind, number of artifacts, compression, image format or number of workers.
    """
    image_format(job.format, "the build")
    names = [layer.name for layer in job.layers]
    if len(set(names)) != len(names):
        raise InputError(f"two layers of a build have one name: {sorted(names)}")
    if job.compression not in MEDIA_TYPES:
        raise InputError(f"unknown compression {job.compression!r}; there is {', '.join(sorted(MEDIA_TYPES))}")
    if job.workers < 1:
        raise InputError(f"a build needs at least one worker, not {job.workers}")
    for layer in job.layers:
        if not _NAME.fullmatch(layer.name):
            raise InputError(f"a layer cannot be named {layer.name!r}: letters a-z, digits, '.', '_' and '-' only")
        if layer.kind not in KINDS:
            raise InputError(f"layer {layer.name} has the unknown kind {layer.kind!r}; there is {', '.join(KINDS)}")
        if (layer.kind == "base") == bool(layer.artifacts) or (layer.kind == "source" and len(layer.artifacts) != 1):
            raise InputError(f"layer {layer.name} of kind {layer.kind} has {len(layer.artifacts)} artifacts")
        if layer.kind == "conda" and not job.layout.prefix:
            raise InputError(f"layer {layer.name} holds conda packages, and no prefix says where they lie")
