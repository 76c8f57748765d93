"""Bundles that a certificate of one moment signed (Sigstore): checked offline, against a trusted root kept in a file.

sigstore-python (extra `keyless`) verifies certificate chain, certificate log, transparency log, times and signature.
Who may have signed is judged here, what the statement is about by the policy. Nothing is fetched, no cache is read.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reprise_trainer.errors import DoesNotHoldError, InputError, RepriseError, SystemFailureError
from reprise_trainer.identity.bundle import BUNDLE_TYPE, PAYLOAD_TYPE, SIZE_LIMIT
from reprise_trainer.identity.policy import SignerIdentity
from reprise_trainer.identity.statements import WITNESS_HINT
from reprise_trainer.identity.strict_json import parse_json

if TYPE_CHECKING:
    from cryptography import x509
    from sigstore.models import Bundle, TrustedRoot

_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"


def verified_payload(bundle: Bundle, root: TrustedRoot, judge: CertificateJudge) -> bytes:
    """The signed statement's bytes, once certificate, log entry, time, identity and signature hold.

    Raises:
        InputError: what is signed is no in-toto statement.
        DoesNotHoldError: one of them does not hold.
    """
    from sigstore.verify import Verifier

    try:
        kind, payload = Verifier(trusted_root=root).verify_dsse(bundle, judge)
    except RepriseError:
        raise
    except Exception as error:  # whatever it stumbles over, the bundle does not hold
        raise DoesNotHoldError(f"the keyless signature does not hold: {one_line(error)}") from error
    if kind != PAYLOAD_TYPE:
        raise InputError(f"the bundle's payload type is {kind!r}, expected {PAYLOAD_TYPE!r}")
    return payload


class CertificateJudge:
    """Says whether a certificate names somebody who may sign, as sigstore's verifier asks it (a VerificationPolicy).

    `name` is then the certificate's subject and issuer, `matched` the first identity that fits.
    """

    def __init__(self, identities: Sequence[SignerIdentity] | None) -> None:
        """
        Args:
            identities: who may; None: whoever it names.
        """
        self._identities = identities
        self.name = ""
        self.matched: SignerIdentity | None = None

    def verify(self, cert: x509.Certificate) -> None:
        """Raises DoesNotHoldError unless the certificate names one of those who may."""
        subject, issuer = certificate_identity(cert)
        self.name = f"{subject} ({issuer})"
        rules = self._identities
        if rules is None:
            return
        self.matched = next((rule for rule in rules if _matches(rule, subject, issuer)), None)
        if self.matched is None:
            known = ", ".join(f"{rule.subject or rule.subject_pattern} ({rule.issuer})" for rule in rules) or "nobody"
            raise DoesNotHoldError(f"signed by {self.name}, accepted: {known}")


def certificate_identity(certificate: x509.Certificate) -> tuple[str, str]:
    """Subject and issuer that a certificate of Sigstore's authority names.

    Raises:
        DoesNotHoldError: it names none, or more than one.
    """
    from cryptography import x509  # 15 ms, which a key's bundle does not need
    from sigstore.errors import VerificationError
    from sigstore.verify.policy import OIDCIssuerV2

    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        subjects = [
            *names.get_values_for_type(x509.RFC822Name),
            *names.get_values_for_type(x509.UniformResourceIdentifier),
        ]
        extension = certificate.extensions.get_extension_for_oid(OIDCIssuerV2.oid).value
        issuer = _utf8_string(extension.value) if isinstance(extension, x509.UnrecognizedExtension) else ""
        OIDCIssuerV2(issuer).verify(certificate)  # sigstore's own reading of the extension is the same
    except (
        *(x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
        *(ValueError, VerificationError),
    ) as error:
        raise DoesNotHoldError(f"the certificate does not say who signed: {error}") from error
    if len(subjects) != 1 or len(names) != 1:
        raise DoesNotHoldError(f"the certificate names {len(subjects)} subjects, expected one e-mail address or URI")
    return subjects[0], issuer


def load_trusted_root(data: bytes) -> TrustedRoot:
    """The trusted root in JSON bytes: as such, or inside a client trust config.

    Raises:
        InputError: it is neither.
        SystemFailureError: sigstore-python is not installed.
    """
    document = parse_json(data, "trusted root", size_limit=SIZE_LIMIT)
    if isinstance(document, dict) and document.get("mediaType") == _TRUST_CONFIG:
        document = document.get("trustedRoot")
    with_sigstore()
    from sigstore.models import TrustedRoot
    from sigstore_models.trustroot.v1 import TrustedRoot as Model

    try:
        return TrustedRoot(Model.from_json(json.dumps(document)))
    except Exception as error:  # of pydantic, of base64, of sigstore
        raise InputError(f"not a Sigstore trusted root: {one_line(error)}") from error


def with_sigstore() -> None:
    """Raises SystemFailureError, which says what to install, unless sigstore-python is there."""
    try:
        import sigstore  # noqa: F401
    except ImportError as error:
        hint = "Install it with: pip install 'reprise[keyless]'"
        raise SystemFailureError("sigstore-python is not installed", hint=hint) from error


def one_line(error: Exception) -> str:
    """An error of sigstore's or pydantic's, or what caused it, as one line of at most 500 characters."""
    text = str(error) or str(error.__cause__ or "") or type(error).__name__
    return " ".join(text.split())[:500]


def read_certificate(bundle: bytes) -> x509.Certificate:
    """The certificate in a bundle that has one; nothing is verified yet.

    Raises:
        InputError: it has none that can be read.
    """
    from cryptography import x509

    document: Any = parse_json(bundle, "bundle", size_limit=SIZE_LIMIT)
    try:
        data = base64.b64decode(document["verificationMaterial"]["certificate"]["rawBytes"], validate=True)
        return x509.load_der_x509_certificate(data)
    except (ValueError, TypeError, KeyError, x509.InvalidVersion) as error:
        raise InputError(f"the bundle has no certificate that can be read: {error}") from error


def read_keyless_bundle(data: bytes) -> Bundle:
    """A bundle with a certificate; nothing in it is verified yet.

    Raises:
        InputError: it is none.
        SystemFailureError: sigstore-python is not installed.
    """
    document: Any = parse_json(data, "bundle", size_limit=SIZE_LIMIT)
    if not isinstance(document, dict) or document.get("mediaType") != BUNDLE_TYPE:
        raise InputError(f"not a Sigstore bundle v0.3: expected an object with the media type {BUNDLE_TYPE!r}")
    material = document.get("verificationMaterial")
    if isinstance(material, dict) and "certificate" in material and not material.get("tlogEntries"):
        raise InputError(f"a certificate's bundle has no entry in a log; {WITNESS_HINT}")
    with_sigstore()
    from sigstore.models import Bundle

    try:
        return Bundle.from_json(data)
    except Exception as error:  # of pydantic, of base64, of X.509
        raise InputError(f"not a keyless Sigstore bundle: {one_line(error)}") from error


def _matches(rule: SignerIdentity, subject: str, issuer: str) -> bool:
    if rule.issuer != issuer:
        return False
    if rule.subject_pattern:
        return re.fullmatch(rule.subject_pattern, subject) is not None
    return rule.subject == subject


def _utf8_string(data: bytes) -> str:
    """The text of a DER UTF8String (X.690 section 8.23), with a length of one byte or of two."""
    if data[:1] != b"\x0c":
        raise ValueError("the issuer is not a UTF8String")
    start = 3 if data[1:2] == b"\x81" else 2
    return data[start:].decode()
