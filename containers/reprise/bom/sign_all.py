"""All that `reprise sign` says about an image: the image statement, its bill of materials, its provenance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reprise.bom.attest import attest_bill
from reprise.bom.provenance import LOCAL_BUILDER, attest_provenance, require_uri
from reprise.store import Store
from reprise.trust.sign import sign_image
from reprise.trust.signer import Signs
from reprise_trainer.errors import InputError, NotFoundError


@dataclass(frozen=True, slots=True)
class Signed:
    """Digests of the referrers that were written, by what each says; `left_out` says what is missing and why."""

    referrers: dict[str, str]
    left_out: tuple[str, ...]


def sign_all(store: Store, digest: str, name: str, key: Signs, builder: str = LOCAL_BUILDER) -> Signed:
    """Sign an image, and of provenance and bill of materials what the store has the inputs for.

    Args:
        store, digest, name, key: as `reprise.trust.sign.sign_image` takes them.
        builder: URI of who built the image.

    Raises:
        NotFoundError: the store does not hold the image.
        DoesNotHoldError: the lock beside the image is not the one that it names.
        InputError: `builder` is not a URI; nothing was signed.
    """
    require_uri(builder)
    referrers = {"signature": sign_image(store, digest, name, key)}
    left_out = []
    attestations: dict[str, Callable[[], str]] = {
        "provenance": lambda: attest_provenance(store, digest, key, builder),
        "bill_of_materials": lambda: attest_bill(store, digest, key),
    }
    for document, attested in attestations.items():
        try:
            referrers[document] = attested()
        except (NotFoundError, InputError) as error:  # the image's signature stands without it
            left_out.append(f"no {document.replace('_', ' ')} was signed: {error}")
    return Signed(referrers, tuple(left_out))
