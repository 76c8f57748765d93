"""The launch folder: what the launcher hands to a run, read-only, beside the image. Both sides use these names.

launch.json is canonical JSON; policy, configuration, bundles and the run's key are files of their own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reprise_trainer.canonical import DIGEST_PATTERN, canonical_json
from reprise_trainer.errors import InputError, RefusedError

FORMAT = 1

MOUNTED_AT = Path("/run/reprise")
DATA = Path("/data")
OUTPUT = Path("/output")

LAUNCH_FILE = "launch.json"
CONFIG_FILE = "run.toml"
BUNDLE_FILE = "image.sigstore.json"
MORE_BUNDLES = "image-*.sigstore.json"
"""Further bundles about the image, where the policy asks for more than one statement: `image-1.sigstore.json`, …"""
DELEGATION_FILE = "delegation.sigstore.json"
RUN_KEY_FILE = "run-key.pem"
POLICY_FILE = "policy.toml"
CODE_FILE = "code.tar"
"""The user's own code, where the configuration names some."""
START_FOLDER = "start"
"""The checkpoint of another run that the configuration starts from, where it names one."""
FEED_SOCKET = "shards.sock"
"""Where the launcher listens, when it brings the snapshot's shards as they are needed."""

SIZE_LIMIT = 16 << 20
"""Bytes of a file in the folder."""

ENGINES = ("namespaces", "docker", "podman", "inside")
EVENT_FORMS = ("text", "json")


@dataclass(frozen=True, slots=True)
class Launch:
    """What the launcher says about a run: image and snapshot digest (`sha256:<hex>`), the run's id, which engine runs
    it, whether events go to stdout as text or as JSON lines, and how many processes share the work."""

    image: str
    snapshot: str
    run: str
    engine: str
    events: str = "text"
    workers: int = 1


def encode_launch(launch: Launch) -> bytes:
    """Canonical bytes of launch.json."""
    document = asdict(launch)
    if launch.workers == 1:
        del document["workers"]  # images of before there were several read this too
    return canonical_json({"format": FORMAT, **document})


def decode_launch(data: bytes) -> Launch:
    """The launch in launch.json's bytes.

    Raises:
        InputError: not a launch of this format.
    """
    try:
        document = json.loads(data)
        version = document.pop("format")
        if version != FORMAT:
            raise InputError(f"{LAUNCH_FILE} has format {version!r}, this version reads format {FORMAT}")
        launch = Launch(**document)
        fits = (
            all(isinstance(value, str) for name, value in document.items() if name != "workers")
            and type(launch.workers) is int
            and launch.workers >= 1
            and DIGEST_PATTERN.match(launch.image)
            and DIGEST_PATTERN.match(launch.snapshot)
            and launch.engine in ENGINES
            and launch.events in EVENT_FORMS
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{LAUNCH_FILE} is malformed: {error}") from error
    if not fits:
        raise InputError(
            f"{LAUNCH_FILE} is malformed: a digest, the engine, the form of events or the workers are no such"
        )
    return launch


def read_launch_file(folder: Path, name: str, what: str) -> bytes:
    """A file of the launch folder.

    Raises:
        RefusedError: it is missing, too large, or can't be read; `what` says what a run lacks without it.
    """
    try:
        with (folder / name).open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise RefusedError(f"{what}: {folder / name} can't be read: {error.strerror}") from error
    if len(data) > SIZE_LIMIT:
        raise RefusedError(f"{folder / name} has more than {SIZE_LIMIT} bytes")
    return data


def read_bundles(folder: Path, what: str) -> list[bytes]:
    """Every bundle about the image that the launch folder holds.

    Raises:
        RefusedError: there is none, or one can't be read; `what` says what a run lacks without it.
    """
    names = [BUNDLE_FILE, *sorted(path.name for path in folder.glob(MORE_BUNDLES))]
    return [read_launch_file(folder, name, what) for name in names]
