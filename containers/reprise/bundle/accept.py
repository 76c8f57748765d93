"""Bundle → store, if a policy accepts its image: the judgement of `reprise load --policy`.

No signature binds a repository, and a bundle is a file that its courier could have written: what it says of where its
image was pulled from is shown and compared, and never counted. A policy that allows some repositories alone therefore
needs a person's word for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reprise.bundle.read import Loaded, claimed_references, load_bundle
from reprise.events import OnEvent, ignore
from reprise.registry.reference import Reference, parse_reference, source_name, stored_name
from reprise.store import Store
from reprise.store.references import record_pull
from reprise.trust.verify import VerifyReport, remember, verify_image
from reprise_trainer.errors import DoesNotHoldError
from reprise_trainer.identity.policy import Policy


def load_accepted(
    file: Path, store: Store, policy: Policy, *, reference: Reference | None = None, on_event: OnEvent = ignore
) -> Loaded:
    """Put a bundle's image into the store if the policy accepts it, judged before a layer is read.

    Args:
        reference: where the image was pulled from, by the word of a person who trusts whoever carried the bundle. It
            is judged and remembered as a pull's would be: by the policy's repositories, and by its tag's past.
        on_event: told of each blob's progress.

    Raises:
        DoesNotHoldError: the policy does not hold; it allows some repositories alone and no reference was given; or the
            reference is of another image or repository than the bundle says. The store is as it was.
        NotFoundError, InputError, StorageError: as `load_bundle`.
    """
    claimed = claimed_references(file)
    _require_word(file, policy, reference, claimed)
    judgements: list[VerifyReport] = []

    def check(judged: Store, digest: str) -> None:
        if reference and reference.digest not in ("", digest):
            raise DoesNotHoldError(f"{reference} names another image than that of the bundle {file}, {digest}")
        source = source_name(reference, digest) if reference else ""
        found = verify_image(judged, digest, policy, name=source, references=[source] if source else [], memory=store)
        found.require()
        judgements.append(found)

    names = [stored_name(reference)] if reference else []
    loaded = load_bundle(file, store, check=check, names=[name for name in names if name], on_event=on_event)
    if reference:
        record_pull(store, source_name(reference, loaded.image), [loaded.image])
        remember(store, *judgements)
    return loaded


def _require_word(file: Path, policy: Policy, reference: Reference | None, claimed: Sequence[str]) -> None:
    if reference is None:
        if policy.repositories:
            said = f"it says that its image came from {', '.join(claimed)}" if claimed else "it names none"
            raise DoesNotHoldError(
                f"the policy allows some repositories alone, and the bundle {file} proves none; {said}",
                hint="Whoever trusts the bundle's courier names the reference: --as HOST/PATH:TAG.",
            )
        return
    repositories = {(each.host, each.repository) for each in map(parse_reference, claimed)}
    if repositories and (reference.host, reference.repository) not in repositories:
        raise DoesNotHoldError(
            f"the bundle {file} says that its image came from {', '.join(claimed)}, not from {reference}",
            hint="Ask whoever wrote it which is right; a bundle without a reference takes your word alone.",
        )
