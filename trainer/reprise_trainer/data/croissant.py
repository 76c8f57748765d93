"""A snapshot, said in Croissant 1.0: the JSON-LD that data catalogues and `mlcroissant` read.

It is derived from `snapshot.json`, lies beside it, and is no part of the snapshot's identity.
Source: the MLCommons Croissant format specification, version 1.0, and its vocabulary for responsible AI (RAI).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from reprise_trainer.data.snapshot import RecordField, Snapshot

FILE_NAME = "croissant.json"

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prescribes, as `mlcroissant` writes it."""


def croissant_json(snapshot: Snapshot, digest: str) -> bytes:
    """The Croissant document of a snapshot.

    Args:
        snapshot: the snapshot.
        digest: its digest; the document's version is 1.0.0 of exactly that.
    """
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": snapshot.name,
        "description": snapshot.description or f"The data set {snapshot.name}, as an immutable snapshot.",
        "license": snapshot.licence,
        "version": "1.0.0",
        "identifier": digest,
        "url": f"urn:{digest}",
        "isBasedOn": [source.artifact for source in snapshot.sources],
        **({"rai:dataBiases": snapshot.biases} if snapshot.biases else {}),
        **({"rai:dataPreprocessingProtocol": _protocol(snapshot)} if snapshot.preprocessing else {}),
        "distribution": list(_distribution(snapshot)),
        "recordSet": [
            _splits(snapshot),
            *(_record_set(snapshot, split, field) for split in snapshot.splits for field in snapshot.fields),
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True).encode() + b"\n"


def _protocol(snapshot: Snapshot) -> list[str]:
    return [
        f"{each.step}: {json.dumps(each.parameters, ensure_ascii=False, sort_keys=True)}"
        for each in snapshot.preprocessing
    ]


def _distribution(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    for shard in snapshot.shards():
        yield {
            "@type": "cr:FileObject",
            "@id": shard.path,
            "name": shard.path,
            "contentUrl": shard.path,
            "contentSize": f"{shard.size} B",
            "encodingFormat": "application/octet-stream",
            "sha256": shard.sha256,
        }
    for split in snapshot.splits:
        for field in snapshot.fields:
            yield {
                "@type": "cr:FileSet",
                "@id": _files(split, field),
                "name": _files(split, field),
                "encodingFormat": "application/octet-stream",
                "includes": f"shards/{split}-*.{field.name}.bin",
            }


def _files(split: str, field: RecordField) -> str:
    return f"files/{split}/{field.name}"


def _splits(snapshot: Snapshot) -> dict[str, Any]:
    """The names of the splits, as a record set of its own that the others' records could refer to."""
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [{"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"}],
        "data": [{"splits/name": name} for name in snapshot.splits],
    }


def _record_set(snapshot: Snapshot, split: str, field: RecordField) -> dict[str, Any]:
    """One field of one split: Croissant joins the sources of a record set by keys, and ours follow by place alone."""
    found = snapshot.split(split)
    name = f"{split}/{field.name}"
    layout = f"{field.dtype}, little-endian, shape {list(field.shape)} a record, C order, no header"
    overlap = f"; records are windows that start every {field.stride} elements" if field.stride else ""
    classes = f"; classes: {json.dumps(field.classes, ensure_ascii=False)}" if field.is_label else ""
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{found.records} records ({found.rule.kind}); {found.duplicates} equal an earlier one.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/shard",
                "name": "shard",
                "description": layout + overlap + classes,
                "dataType": "sc:Text",
                "source": {"fileSet": {"@id": _files(split, field)}, "extract": {"fileProperty": "content"}},
            }
        ],
    }
