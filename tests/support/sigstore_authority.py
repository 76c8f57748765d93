"""The first half of a private Sigstore: an OIDC issuer, a certificate authority (Fulcio), a certificate log.

Sources: fulcio's certificate-specification.md and oid-info.md, RFC 6962 section 3.2 (what an SCT signs).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import struct
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
AUDIENCE = "sigstore"
Claims = dict[str, Any]


class IdentityProvider:
    """Signs tokens for whoever the test names."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.url = ""  # known once the server listens
        self.user = ""  # who sits at the browser
        self.asked: dict[str, str] = {}  # code → its challenge

    def token(self, subject: str, *, seconds: int = 300, **claims: Any) -> str:
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "nbf": now - 5, "exp": now + seconds}
        return jwt.encode({**said, **claims}, self.key, algorithm="RS256", headers={"kid": "key"})

    def verify(self, token: str) -> Claims:
        public = self.key.public_key()
        return jwt.decode(token, public, algorithms=["RS256"], audience=AUDIENCE, issuer=self.url)

    def authorize(self, query: dict[str, str]) -> str:
        """Where a browser goes on after its user has logged in (RFC 6749 section 4.1.2)."""
        code = secrets.token_hex(16)
        self.asked[code] = query["code_challenge"]
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str]) -> dict[str, str]:
        """The token for a code, once, for whoever knows what the challenge was made of (RFC 7636)."""
        hashed = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(hashed).decode().rstrip("=") != self.asked.pop(form["code"]):
            raise ValueError("the code is somebody else's")
        return {"access_token": self.token(self.user), "token_type": "Bearer"}

    def discovery(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0, section 3."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/auth",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }


class CertificateLog:
    """Promises to log certificates; no client looks at the log itself."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.log_id = hashlib.sha256(spki(self.key.public_key())).digest()

    def promise(self, to_be_signed: bytes, issuer: ec.EllipticCurvePublicKey) -> bytes:
        """The extension's value: a list of one signed certificate timestamp for a precertificate."""
        moment = int(time.time() * 1000)
        entry = hashlib.sha256(spki(issuer)).digest() + len(to_be_signed).to_bytes(3) + to_be_signed
        signed = struct.pack("!BBQH", 0, 0, moment, 1) + entry + b"\0\0"
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        timestamp = struct.pack("!B32sQH", 0, self.log_id, moment, 0)
        timestamp += struct.pack("!BBH", 4, 3, len(signature)) + signature  # SHA-256, ECDSA
        one = len(timestamp).to_bytes(2) + timestamp
        return bytes(core.OctetString(len(one).to_bytes(2) + one).dump())


class CertificateAuthority:
    """Certifies the key of a moment for whom a token names."""

    def __init__(self, provider: IdentityProvider, log: CertificateLog, lifetime: timedelta) -> None:
        self.provider, self.log, self.lifetime = provider, log, lifetime
        root_key, self.root = authority("root")
        self.key, self.certificate = authority("intermediate", self.root, root_key)

    def answer(self, request: dict[str, Any], bearer: str) -> dict[str, Any]:
        """`POST /api/v2/signingCert`: sigstore-python sends a signing request, cosign a key and a proof of it."""
        claims = self.provider.verify(request.get("credentials", {}).get("oidcIdentityToken") or bearer)
        if text := request.get("certificateSigningRequest"):
            asked = x509.load_pem_x509_csr(base64.b64decode(text))
            if not asked.is_signature_valid:
                raise ValueError("the request is not signed by its key")
            public = asked.public_key()
        else:
            asked = request["publicKeyRequest"]
            public = serialization.load_pem_public_key(asked["publicKey"]["content"].encode())
            proof = base64.b64decode(asked["proofOfPossession"])
            public.verify(proof, claims.get("email", claims["sub"]).encode(), ec.ECDSA(hashes.SHA256()))
        chain = [pem(each) for each in (self.certify(public, claims), self.certificate, self.root)]
        return {"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}

    def certify(self, public: Any, claims: Claims) -> x509.Certificate:
        """The promise covers the certificate as it is without the promise; so it is signed twice."""
        begin = datetime.now(UTC)
        named = x509.RFC822Name(claims["email"]) if "email" in claims else x509.UniformResourceIdentifier(claims["sub"])
        issuer = claims["iss"]
        builder = (
            x509.CertificateBuilder(x509.Name(self.certificate.subject), x509.Name([]), public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + self.lifetime)
            .add_extension(usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([named]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER, issuer.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(ISSUER_V2, core.UTF8String(issuer).dump()), critical=False)
        )
        before = builder.sign(self.key, hashes.SHA256()).tbs_certificate_bytes
        promise = self.log.promise(before, self.key.public_key())
        return builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, promise), critical=False).sign(
            self.key, hashes.SHA256()
        )


def authority(
    name: str, issuer: x509.Certificate | None = None, issuer_key: ec.EllipticCurvePrivateKey | None = None
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """An authority's key and certificate: self-signed without an issuer, else one that certifies no other authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"private {name}")])
    signer = issuer_key or key
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer.subject if issuer else subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(True, 0 if issuer else None), critical=True)
        .add_extension(usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return key, certificate


def usage(**allowed: bool) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in names})


def spki(public: Any) -> bytes:
    return bytes(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()
