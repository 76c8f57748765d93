"""Signing without a key of one's own: an identity token becomes a certificate of some minutes, and the signature goes
into a transparency log (sigstore-python, extra `keyless`)."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from reprise.trust.keyless import one_line, with_sigstore
from reprise.trust.proofs import SigstoreProofs
from reprise.trust.witness import Witnesses, Witnessing
from reprise.trust.witness_services import services_of
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import InputError, NotFoundError, UnavailableError
from reprise_trainer.identity.bundle import BUNDLE_TYPE, VerifiedStatement

if TYPE_CHECKING:
    from sigstore._internal.rekor import RekorLogSubmitter
    from sigstore.models import ClientTrustConfig
    from sigstore.sign import Signer as CertificateSigner

_LARGEST_TOKEN = 65536  # bytes
_TOKEN_HINT = "Let the job have one (on GitHub: `permissions: id-token: write`), or name one by --identity-token FILE."
_RETRY = "What was signed is kept; run the command again for the rest."


class KeylessSigner:
    """Signs with a certificate that Sigstore's authority gives for an identity token.

    The certificate is asked for at the first signature and serves all signatures of this signer. Each signature is a
    new event with a time in the log: signing once more adds one. When the log does not answer and a time stamper does,
    the signature is kept without its entry (`unlogged` counts them): the stamp proves that the certificate was good, so
    `reprise witness` can add the entry later.
    """

    def __init__(self, config: ClientTrustConfig, token: Callable[[], str]) -> None:
        """
        Args:
            config: which authority, log and time stamper are asked, and which are believed.
            token: gives the identity token when it is needed.
        """
        self._config, self._token = config, token
        self._signer: CertificateSigner | None = None
        self._identity = ""
        self._captured = _CapturingLog()
        self.unlogged = 0

    @property
    def identity(self) -> str:
        """Subject and issuer of the certificate; empty before the first signature."""
        return self._identity

    def sign(self, statement: Mapping[str, Any]) -> bytes:
        """The bundle that holds a statement, with its certificate and log entry, verified before it is given out.

        Raises:
            InputError: the token is not one that Sigstore takes.
            UnavailableError: authority or log and time stamper did not answer, or what they gave does not verify.
        """
        from sigstore.dsse import Statement

        try:
            signer = self._certified()
            with suppress(_CapturedError):
                signer.sign_dsse(Statement(canonical_json(dict(statement))))
            done = self._witnessed(self._captured.bundle())
        except InputError:
            raise
        except Exception as error:  # of requests, of the services' answers, of sigstore: it gives many kinds
            raise UnavailableError(f"signing with Sigstore failed: {one_line(error)}", hint=_RETRY) from error
        self._identity = done.by
        self.unlogged += done.log != "added"
        return done.bundle

    def _witnessed(self, bundle: bytes) -> Witnessing:
        """A bundle with time stamps and log entry; without the entry where only the log does not answer."""
        proofs = SigstoreProofs.of(self._config.trusted_root)
        done = Witnesses(services_of(self._config), proofs).witness_fresh(bundle)
        if done.log != "added" and done.time != "added":
            raise UnavailableError(done.why)
        return done

    def read(self, bundle: bytes) -> VerifiedStatement | None:
        """None: a signature of before says when it was made, and so does not stand for one of now."""
        return None

    def _certified(self) -> CertificateSigner:
        if self._signer is None:
            from sigstore.oidc import IdentityError, IdentityToken
            from sigstore.sign import Signer, SigningContext

            try:
                token = IdentityToken(self._token())
            except IdentityError as error:
                raise InputError(f"the identity token is not one that Sigstore takes: {error}") from error
            authority, root = self._config.signing_config.get_fulcio(), self._config.trusted_root
            log = cast("RekorLogSubmitter", self._captured)
            self._signer = Signer(token, SigningContext(fulcio=authority, rekor=log, trusted_root=root))
        return self._signer


class _CapturedError(Exception):
    """Ends sigstore's signing where it would ask the log: it would ask once, and wait without an end."""


class _CapturingLog:
    """Stands in sigstore's signer for the log (a RekorLogSubmitter), and keeps what was signed."""

    def __init__(self) -> None:
        self._asked: tuple[Any, x509.Certificate] | None = None

    def _build_dsse_request(self, envelope: Any, certificate: x509.Certificate) -> dict[str, Any]:
        self._asked = (envelope, certificate)
        return {}

    def create_entry(self, request: dict[str, Any]) -> NoReturn:
        raise _CapturedError

    def bundle(self) -> bytes:
        """What was signed last, as a bundle without log entry and time."""
        if self._asked is None:
            raise UnavailableError("nothing was signed")
        (envelope, certificate), self._asked = self._asked, None
        raw = base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()
        return canonical_json(
            {
                "mediaType": BUNDLE_TYPE,
                "verificationMaterial": {"certificate": {"rawBytes": raw}},
                "dsseEnvelope": json.loads(envelope.to_json()),
            }
        )


def read_trust_config(path: Path | None, *, offline: bool = False, services: bool = True) -> ClientTrustConfig:
    """Which Sigstore is used: a client trust config in a file, or the public good instance, whose own is fetched (TUF).

    Args:
        path: the file; None for the public instance.
        offline: ask nobody, and take what was last fetched, or what came with sigstore-python.
        services: whether its services are used, and not its trusted root alone.

    Raises:
        NotFoundError: the file cannot be read.
        InputError: it is not a client trust config.
        UnavailableError: the public instance does not answer.
        SystemFailureError: sigstore-python is not installed.
    """
    with_sigstore()
    from sigstore.models import ClientTrustConfig

    if path is None:
        if offline:  # a warning that nothing is fetched would say what was asked for
            logging.getLogger("sigstore._internal.tuf").setLevel(logging.ERROR)
        try:
            return ClientTrustConfig.production(offline=offline)
        except Exception as error:  # of TUF and of the network
            raise UnavailableError(
                f"cannot fetch the public Sigstore's trust config: {one_line(error)}",
                hint="Name one by --trust-config.",
            ) from error
    try:
        text = path.read_text()
    except OSError as error:
        raise NotFoundError(f"cannot read the trust config {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not text: {error}") from error
    try:
        config = ClientTrustConfig.from_json(text)
        _ = config.trusted_root, config.signing_config if services else None  # each is read only when it is asked for
        return config
    except Exception as error:  # of pydantic and of sigstore
        raise InputError(f"{path} is not a Sigstore client trust config: {one_line(error)}") from error


def token_from_file(path: Path) -> Callable[[], str]:
    """An identity token (a JWT) that somebody put into a file."""

    def read() -> str:
        try:
            with path.open("rb") as file:
                return file.read(_LARGEST_TOKEN).decode("ascii").strip()
        except OSError as error:
            raise InputError(f"cannot read the identity token {path}: {error.strerror}") from error
        except ValueError as error:
            raise InputError(f"{path} is not an identity token: {error}") from error

    return read


def ambient_token(config: ClientTrustConfig, *, at_a_desk: bool) -> str:
    """The identity token that the CI service around this process gives to it, or that a person's login gives.

    Args:
        config: names the service where a person logs in.
        at_a_desk: whether a person is there, to use a browser.

    Raises:
        InputError: nobody gives a token.
    """
    from sigstore.oidc import IdentityError, Issuer, detect_credential

    try:
        token = detect_credential()
        if token is None and at_a_desk:
            token = str(Issuer(config.signing_config.get_oidc_url()).identity_token())
    except IdentityError as error:
        raise InputError(f"there is no identity token: {one_line(error)}", hint=_TOKEN_HINT) from error
    if token is None:
        raise InputError("no CI service that is known here gives an identity token", hint=_TOKEN_HINT)
    return token
