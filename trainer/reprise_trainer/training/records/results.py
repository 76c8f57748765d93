"""What finished stages have given, kept in a run's folder: a later attempt of the run takes it where nothing that it
follows from has changed. Standard library alone; the host reads results by this module.

    results/evaluate.json   {"format":1,"key":"sha256:…","result":{…},"sha256":"<hex>","stage":"evaluate"}

`key` names everything that the stage follows from; `sha256` is that of the file's canonical JSON without it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprise_trainer.canonical import canonical_json, sha256_digest
from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import DoesNotHoldError

FORMAT = 1
RESULTS = "results"


def stage_key(stage: str, *, image: str, code: str, inputs: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """The digest of what a stage's result follows from.

    Args:
        stage: its name.
        image: digest of the image, whose files the trainer's code is among.
        code: sha256 of the run's own code; empty where it has none.
        inputs: name → digest.
        settings: configuration, profile, and whatever else decides the result; as JSON has values.
    """
    said = json.dumps(settings, sort_keys=True, allow_nan=False).encode()  # holds floats: learning rates, dropout
    return sha256_digest(
        canonical_json(
            {
                "format": FORMAT,
                "stage": stage,
                "image": image,
                "code": code,
                "inputs": dict(inputs),
                "settings": sha256_digest(said),
            }
        )
    )


def keep_result(output: Path, stage: str, key: str, result: Mapping[str, Any]) -> None:
    """Keep what a stage gave, in the place of what it gave before.

    Raises:
        StorageError: it can't be written.
    """
    document = {"format": FORMAT, "stage": stage, "key": key, "result": dict(result)}
    try:
        (output / RESULTS).mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(error, output / RESULTS) from error
    write_durably(_path(output, stage), canonical_json({**document, "sha256": _sha256(document)}))


def kept_result(output: Path, stage: str, key: str) -> dict[str, Any] | None:
    """What an earlier attempt has kept of a stage; None where there is nothing, or it follows from something else.

    Raises:
        DoesNotHoldError: the file is damaged: its bytes are not those of its digest.
    """
    path = _path(output, stage)
    try:
        document = json.loads(path.read_bytes())
        held = document.pop("sha256") == _sha256(document)
        wanted = (document["format"], document["stage"], document["key"]) == (FORMAT, stage, key)
        result = document["result"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DoesNotHoldError(f"{path}: not the result of a stage: {error}") from error
    if not held or not isinstance(result, dict):
        raise DoesNotHoldError(f"{path}: its bytes are not those of its digest")
    return result if wanted else None


def forget_results(output: Path) -> None:
    """Remove all results, so that every stage that is left is done again."""
    shutil.rmtree(output / RESULTS, ignore_errors=True)


def _path(output: Path, stage: str) -> Path:
    return output / RESULTS / f"{stage}.json"


def _sha256(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(dict(document))).hexdigest()
