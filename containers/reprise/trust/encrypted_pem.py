"""A private key at rest: PKCS #8 in PEM, encrypted by a passphrase with scrypt and AES-256-CBC (PBES2).

`cryptography` writes PBES2 with 2048 rounds of PBKDF2 and offers no other way, which is cheap to guess at; it reads
scrypt. So the envelope around the ciphertext is written here, as `openssl pkcs8 -topk8 -scrypt` does.

Sources: RFC 5958 section 3 (EncryptedPrivateKeyInfo), RFC 8018 section 6.2 (PBES2), RFC 7914 section 7 (scrypt's
parameters), RFC 7468 section 11 (the PEM label).
"""

from __future__ import annotations

import base64
import os
import textwrap

from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

_COST, _BLOCK_SIZE, _PARALLELISM = 2**14, 8, 5
"""scrypt's N, r, p: one of OWASP's recommended settings (Password Storage Cheat Sheet), the one of 16 MiB, which is
below the 32 MiB that OpenSSL's own commands allow a key file to ask for."""

_KEY_SIZE, _SALT_SIZE, _IV_SIZE = 32, 16, 16  # bytes

_INTEGER, _OCTETS, _SEQUENCE = 0x02, 0x04, 0x30
_PBES2 = bytes.fromhex("06092a864886f70d01050d")  # 1.2.840.113549.1.5.13, in DER
_SCRYPT = bytes.fromhex("06092b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES_256_CBC = bytes.fromhex("060960864801650304012a")  # 2.16.840.1.101.3.4.1.42


def encrypted_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes) -> bytes:
    """PEM bytes of a private key that `passphrase` opens; `cryptography` and OpenSSL read them."""
    salt, iv = os.urandom(_SALT_SIZE), os.urandom(_IV_SIZE)
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    derived = Scrypt(salt, _KEY_SIZE, _COST, _BLOCK_SIZE, _PARALLELISM).derive(passphrase)
    padder = padding.PKCS7(algorithms.AES.block_size).padder()
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()

    settings = b"".join(_integer(each) for each in (_COST, _BLOCK_SIZE, _PARALLELISM, _KEY_SIZE))
    derivation = _sequence(_SCRYPT, _sequence(_der(_OCTETS, salt), settings))
    scheme = _sequence(_AES_256_CBC, _der(_OCTETS, iv))
    algorithm = _sequence(_PBES2, _sequence(derivation, scheme))
    return _pem(_sequence(algorithm, _der(_OCTETS, ciphertext)))


def _pem(der: bytes) -> bytes:
    label = "ENCRYPTED PRIVATE KEY"
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()


def _sequence(*parts: bytes) -> bytes:
    return _der(_SEQUENCE, b"".join(parts))


def _integer(number: int) -> bytes:
    return _der(_INTEGER, number.to_bytes(number.bit_length() // 8 + 1))  # a leading zero bit: not negative


def _der(tag: int, content: bytes) -> bytes:
    """Tag, length and content (X.690 section 8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content
