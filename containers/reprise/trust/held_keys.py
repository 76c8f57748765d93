"""Signing keys that never leave what holds them: a token (PKCS #11), a cloud's key service, Vault.

By securesystemslib's signers (extra `hsm`), and for Vault by hvac. What holds the key hashes or is given the hash; the
signature comes back in DER, as a PEM key's would, and is checked with the public half before it is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust import pkcs11_uri, vault_key
from reprise.trust.passphrase import Passphrase, refuse
from reprise_trainer.errors import InputError, NotFoundError, RepriseError, SystemFailureError, UnavailableError
from reprise_trainer.identity.bundle import read_public_key

AWS, AZURE, GOOGLE = "awskms", "azurekms", "gcpkms"
SCHEMES = (pkcs11_uri.SCHEME, AWS, AZURE, GOOGLE, vault_key.SCHEME)

_EXTRAS = {pkcs11_uri.SCHEME: "hsm", AWS: "aws", AZURE: "azure", GOOGLE: "gcp", vault_key.SCHEME: "vault"}
_P256 = "ecdsa-sha2-nistp256"  # securesystemslib's name of the scheme


@dataclass(frozen=True, slots=True)
class HeldKey:
    """A key by its reference; a `SigningKey` to whoever signs with it."""

    reference: str
    public: ec.EllipticCurvePublicKey
    signs: Callable[[bytes], bytes]

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half."""
        return self.public

    def sign(self, data: bytes, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """The signature of `data` (ECDSA with SHA-256, DER).

        Raises:
            InputError: the PIN is wrong.
            UnavailableError: what holds the key does not sign, or its signature does not verify.
        """
        with _Told(self.reference):
            signature = self.signs(data)
        try:
            self.public.verify(signature, data, signature_algorithm)
        except InvalidSignature as error:
            raise UnavailableError(f"{self.reference} gave a signature that its own key does not verify") from error
        return signature


def is_held(reference: str) -> bool:
    """Whether a key's name is a reference to one that is held elsewhere, and no file's."""
    return reference.partition(":")[0] in SCHEMES and ":" in reference


def open_held_key(reference: str, pin: Passphrase = refuse) -> HeldKey:
    """The key that a reference names; its public half is read now.

    Args:
        reference: `pkcs11:token=LABEL;id=%01?module-path=FILE`, `awskms:ID`, `gcpkms:projects/…/cryptoKeyVersions/1`,
            `azurekms://VAULT.vault.azure.net/keys/NAME`, `hashivault:NAME[/VERSION]`.
        pin: asked once, for the token's PIN. Cloud services and Vault know who asks by their own configuration.

    Raises:
        InputError: the reference is malformed, the PIN is wrong, or the key is not on P-256.
        NotFoundError: there is no such token or key.
        UnavailableError: what holds the key does not answer.
        SystemFailureError: the library for it is not installed.
    """
    scheme, _, place = reference.partition(":")
    place = place.lstrip("/")
    with _Told(reference):
        match scheme:
            case pkcs11_uri.SCHEME:
                return _on_token(reference, pin)
            case vault_key.SCHEME:
                kept = vault_key.open_vault_key(place)
                return HeldKey(reference, kept.public, kept.sign)
            case _:
                return _in_cloud(reference, scheme, place)


def _on_token(reference: str, pin: Passphrase) -> HeldKey:
    from securesystemslib.signer import HSMSigner

    named = pkcs11_uri.parse_pkcs11_uri(reference)
    if named.module:
        os.environ["PYKCS11LIB"] = named.module  # where securesystemslib looks; a path, no secret
    elif not os.environ.get("PYKCS11LIB"):
        raise InputError(
            f"{reference} does not say which driver the token needs", hint="Add ?module-path=/path/to/driver.so to it."
        )
    answers: list[str] = []

    def ask(_: str) -> str:
        if not answers:
            answers.append(_text(pin(f"the token {named.token!r} (its PIN)")))
        return answers[0]

    uri, public = HSMSigner.import_(named.key_id, named.token or None, ask)
    signer = HSMSigner.from_priv_key_uri(uri, public, ask)
    return HeldKey(reference, read_public_key(public.keyval["public"]), lambda data: _der(signer.sign(data).signature))


def _in_cloud(reference: str, scheme: str, place: str) -> HeldKey:
    from securesystemslib.signer import AWSSigner, AzureSigner, GCPSigner, Signer

    match scheme:
        case "awskms":
            uri, public = AWSSigner.import_(place, _P256)
        case "gcpkms":
            uri, public = GCPSigner.import_(place)
        case _:
            vault, _, rest = place.partition("/")
            name, _, version = rest.removeprefix("keys/").partition("/")
            uri, public = AzureSigner.import_(vault.partition(".")[0], name)
            if version and not uri.endswith(f"/{version}"):
                raise InputError(f"{reference} is not the key's newest version, which is {uri}")
    key = read_public_key(public.keyval["public"])
    signer = Signer.from_priv_key_uri(uri, public)
    return HeldKey(reference, key, lambda data: _der(signer.sign(data).signature))


def _text(pin: bytes) -> str:
    try:
        return pin.decode()
    except UnicodeDecodeError as error:
        raise InputError("the PIN is not UTF-8") from error


def _der(signature: str) -> bytes:
    return bytes.fromhex(signature)


class _Told:
    """Says in the project's words what the many libraries raise."""

    def __init__(self, reference: str) -> None:
        self._reference = reference

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, RepriseError):
            raise _in_own_words(self._reference, error) from error


def _in_own_words(reference: str, error: Exception) -> RepriseError:
    kind = type(error).__name__
    reason = " ".join(str(error).split())[:300]
    if isinstance(error, ImportError) or kind == "UnsupportedLibraryError":
        extra = _EXTRAS[reference.partition(":")[0]]
        return SystemFailureError(
            f"the library for {reference} is not installed", hint=f"Install it with: pip install 'reprise[{extra}]'"
        )
    if kind.startswith("Pin"):  # pkcs11's PinIncorrect, PinLocked, PinLenRange …: they have no text
        return InputError(
            f"the PIN is not accepted for {reference} ({kind})", hint="Tokens lock after some wrong PINs."
        )
    if isinstance(error, ValueError):  # what securesystemslib raises where a token or key is not there
        return NotFoundError(f"{reference}: {reason}")
    return UnavailableError(f"{reference} cannot be used: {kind}{f': {reason}' if reason else ''}")
