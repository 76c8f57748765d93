"""A project whose one environment is small, but builds for real: the Debian packages of torch-cpu and a wheel or none.

Its lock is cut out of the committed one, so that the artifacts are those that the tests' store has anyway.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from reprise.lock.environment import read_environment
from reprise.project import Project
from reprise.store import Store

CHECKOUT = Path(__file__).parents[2]
NAME = "small"


def small_project(root: Path) -> Project:
    """Write the project below `root`."""
    images, folder = root / "containers" / "images", root / "locks" / NAME
    images.mkdir(parents=True)
    shutil.copytree(CHECKOUT / "locks" / "torch-cpu", folder)
    (folder / "environment.digest").unlink()
    environment = images / f"{NAME}.toml"
    environment.write_text(
        f'name = "{NAME}"\npython = "3.11"\nplatform = "linux-64"\n'
        '[debian]\nsuite = "bookworm"\npackages = ["python3.11-minimal", "libpython3.11-stdlib"]\n'
        '[pypi]\nrequirements = ["typing-extensions"]\nbuild = ["zstandard==0.25.0"]\n'
    )
    plan = json.loads((folder / "layers.json").read_bytes())
    wheels = ("typing-extensions", "zstandard")
    lock = json.loads((folder / "conda-lock.yml").read_bytes())
    lock["package"] = [entry for entry in lock["package"] if entry["name"] in wheels]
    lock["metadata"]["custom_metadata"]["environment"] = NAME
    lock["metadata"]["content_hash"]["linux-64"] = read_environment(environment).content_sha256
    (wheel,) = [entry["url"] for entry in lock["package"] if entry["name"] == wheels[0]]
    debs = [layer for layer in plan["layers"] if layer["artifacts"][0].startswith("pkg:deb/")]
    plan["layers"] = [*debs, {"name": "wheel-0", "artifacts": [wheel]}]
    (folder / "conda-lock.yml").write_text(json.dumps(lock))
    (folder / "layers.json").write_text(json.dumps(plan))
    return Project(root)


def give_artifacts(source: Store, target: Store, digests: list[str]) -> None:
    """Copy artifacts from one store to another."""
    for digest in digests:
        aside = target.partial(digest)
        shutil.copyfile(source.path(digest), aside)
        target.add_file(aside, digest)
