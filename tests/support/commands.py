"""Programs of the tests' own on the layers of a built image, where the image measures itself as it does in training."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from reprise.build import BuiltImage
from reprise.engine.choose import run
from reprise.engine.interface import ImageRef, RunFolders
from reprise.engine.launch import LaunchContents, launch_folder
from reprise.store import Store
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import find_signature, sign_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.inventory import Inventory, image_bytes
from reprise_trainer.identity.launch import Launch
from reprise_trainer.identity.policy import write_policy


@dataclass
class Outcome:
    """How a run ended, and what it said on standard output and standard error."""

    code: int = -1
    lines: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def with_program(store: Store, image: BuiltImage, program: str) -> str:
    """An image of the same layers whose command is a Python program; its digest.

    The command is part of an image's config, and a running image compares the two: so this is an image of its own, and
    what it measures is everything that `image` holds.
    """
    document = json.loads(ImageRef(store, image.digest).config_bytes())
    del document["rootfs"]
    document["config"]["Entrypoint"] = [document["config"]["Entrypoint"][0], "-I", "-c", program]
    made = image_bytes(Inventory(image.layers, document))
    store.add(made.inventory_layer)
    store.add(made.config)
    return store.put_manifest(made.manifest, tag=None)


def run_image(store: Store, digest: str, *, config: str = "", engine: str = "namespaces") -> Outcome:
    """Sign an image, and run its own command with an empty data folder and without a run key.

    Args:
        config: text of run.toml.
    """
    key = make_key()
    policy = own_policy(key.public_key())
    sign_image(store, digest, "tests", key)
    contents = LaunchContents(
        launch=Launch(digest, sha256_digest(b""), "run-1", engine, events="json"),
        config=config.encode(),
        image_bundle=find_signature(store, digest, policy)[0],
        delegation=b"",
        run_key=b"",
        policy=write_policy(policy).encode(),
    )
    outcome = Outcome()
    with launch_folder(contents) as launch, tempfile.TemporaryDirectory() as name:
        data, output = Path(name) / "data", Path(name) / "output"
        data.mkdir()
        output.mkdir()
        outcome.code = run(
            engine,
            ImageRef(store, digest),
            RunFolders(launch, data, output),
            on_line=outcome.lines.append,
            on_error_line=outcome.errors.append,
        )
    return outcome
