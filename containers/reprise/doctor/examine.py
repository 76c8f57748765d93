"""All that a run needs of this machine, looked at in one go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprise.doctor import kernel
from reprise.doctor.engines import engines
from reprise.doctor.finding import Finding
from reprise.doctor.processors import Version, cpu, cuda_need, gpu
from reprise.doctor.room import clock, room
from reprise.doctor.trust_files import key, policy
from reprise.registry.reference import looks_like_reference, parse_reference, stored_name
from reprise.store import Store
from reprise.store.layout import default_root
from reprise.stored_image import read_image_lock, read_inventory
from reprise.trust.keys import home
from reprise.trust.policy_file import POLICY_FILE
from reprise_trainer.errors import NotFoundError, RepriseError


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found, in the order in which it was looked at."""

    findings: tuple[Finding, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether there is no problem; warnings are none."""
        return all(each.state != "problem" for each in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The examination for `--json`."""
        return {"healthy": self.is_healthy, "findings": [each.as_json() for each in self.findings]}


def examine(
    image: str = "",
    *,
    store: Path | None = None,
    policy_file: Path | None = None,
    key_file: str | None = None,
    certificates: Path | None = None,
) -> Examination:
    """Look at this machine; nothing is changed, and no failure of what is looked at is raised.

    Args:
        image: a reference in a registry, which is then asked, or an image in the store; empty for none.
        store, policy_file, key_file: by default the user's own.
        certificates: file of certificate authorities for the registry.
    """
    root = store or default_root()
    namespaces = kernel.user_namespaces()
    found = [namespaces, kernel.overlay(), kernel.cgroups(), kernel.seccomp(), *engines(namespaces), *room(root)]
    ahead = None
    if looks_like_reference(image):
        from reprise.doctor.registry import registry

        answer, ahead = registry(parse_reference(image), certificates)
        found.append(answer)
    written = (policy_file or home() / POLICY_FILE, root / "index.json", Path(__file__))
    found.append(clock(ahead, written))
    need, unknown = _need(image, root)
    found += [*unknown, gpu(need), *cpu(), policy(policy_file), key(key_file)]
    return Examination(tuple(found))


def _need(image: str, root: Path) -> tuple[Version | None, list[Finding]]:
    """The CUDA version of an image in the store, by its lock; and, where that is not known, why."""
    if not image:
        return None, []
    try:
        store = Store.open(root, create=False)
        digest = _stored(image, store)
        return cuda_need(read_image_lock(store, digest, read_inventory(store, digest))[0].artifacts), []
    except RepriseError as error:
        todo = "Pull it first: reprise pull REF (or reprise run, which pulls what it needs)."
        return None, [Finding("the image's need of CUDA", "warning", f"is not known: {error.message}", todo)]


def _stored(image: str, store: Store) -> str:
    if not looks_like_reference(image):
        return store.resolve(image)
    reference = parse_reference(image)
    if reference.digest and store.has(reference.digest):
        return reference.digest
    if name := stored_name(reference):
        return store.resolve(name)
    raise NotFoundError(f"{image} is not in the store {store.root}")
