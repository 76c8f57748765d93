"""All that `reprise sign` says about an image: the image statement, its bill of materials, its provenance; and of an
index, about each image in it, since whoever pulls for a platform sees that image alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reprise.bom.attest import attest_bill
from reprise.bom.provenance import LOCAL_BUILDER, attest_provenance, require_uri
from reprise.store import Store
from reprise.store.platforms import images_of
from reprise.trust.sign import sign_image
from reprise.trust.signer import KeySigner, Signer, Signs, as_signer
from reprise.trust.simple_signing import sign_simply
from reprise_trainer.errors import InputError, NotFoundError


@dataclass(frozen=True, slots=True)
class Signed:
    """Digests of the referrers that were written, by what each says; `left_out` says what is missing and why."""

    referrers: dict[str, str]
    left_out: tuple[str, ...]


def sign_all(
    store: Store,
    digest: str,
    name: str,
    key: Signs,
    builder: str = LOCAL_BUILDER,
    repositories: Sequence[str] = (),
) -> Signed:
    """Sign an image, and of provenance and bill of materials what the store has the inputs for; of an index, the index
    and all of this for every image in it.

    Args:
        store, digest, name, key: as `reprise.trust.sign.sign_image` takes them.
        builder: URI of who built the image.
        repositories: `host/path` of those where tools that read no bundles are to find a signature of the older kind.

    Raises:
        NotFoundError: the store does not hold the image.
        DoesNotHoldError: the lock beside the image is not the one that it names.
        InputError: `builder` is not a URI, or a signature of the older kind is asked of a signer without a key of its
            own; nothing was signed.
    """
    require_uri(builder)
    signer = as_signer(key)
    if repositories and not isinstance(signer, KeySigner):
        raise InputError("only a key of your own makes signatures of the older kind, which name a repository")
    referrers, left_out = _vouch(store, digest, name, signer, repositories), []
    images = images_of(store, digest)
    for image in images:
        signed = sign_all(store, image.digest, name, signer, builder, repositories)
        referrers |= {f"{what}, {image.label}": referrer for what, referrer in signed.referrers.items()}
        left_out += [f"{image.label}: {why}" for why in signed.left_out]
    attestations: dict[str, Callable[[], str]] = {
        "provenance": lambda: attest_provenance(store, digest, signer, builder),
        "bill_of_materials": lambda: attest_bill(store, digest, signer),
    }
    for document, attested in attestations.items() if not images else ():
        try:
            referrers[document] = attested()
        except (NotFoundError, InputError) as error:  # the image's signature stands without it
            left_out.append(f"no {document.replace('_', ' ')} was signed: {error}")
    return Signed(referrers, tuple(left_out))


def _vouch(store: Store, digest: str, name: str, signer: Signer, repositories: Sequence[str]) -> dict[str, str]:
    """The statement that this digest is meant, as a bundle and in the older form."""
    referrers = {"signature": sign_image(store, digest, name, signer)}
    if isinstance(signer, KeySigner):
        for repository in repositories:
            referrers[f"signature for {repository}"] = sign_simply(store, digest, repository, signer.key)
    return referrers
