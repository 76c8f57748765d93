"""A P-256 key in the Transit engine of HashiCorp Vault or OpenBao. (securesystemslib's signer for Vault knows Ed25519
alone.)

Vault's own environment says where it is and who asks: VAULT_ADDR, VAULT_TOKEN (else ~/.vault-token), VAULT_CACERT.

Source: Vault's API documentation, "Transit secrets engine": "Read key", "Sign data".
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import read_public_key

SCHEME = "hashivault"


@dataclass(frozen=True, slots=True)
class VaultKey:
    """A version of a key in Vault; `client` is hvac's."""

    client: Any
    name: str
    version: int
    public: ec.EllipticCurvePublicKey

    def sign(self, data: bytes) -> bytes:
        """The signature of `data` in DER; raises hvac's and requests' errors, and ValueError."""
        answer = self.client.secrets.transit.sign_data(
            self.name,
            hash_input=base64.b64encode(data).decode(),
            key_version=self.version,
            hash_algorithm="sha2-256",
            marshaling_algorithm="asn1",
        )
        return base64.b64decode(answer["data"]["signature"].split(":")[2], validate=True)


def open_vault_key(place: str) -> VaultKey:
    """The key at `NAME` (its newest version) or `NAME/VERSION`; raises hvac's and requests' errors.

    Raises:
        InputError: it is not of type ecdsa-p256, or has no such version.
    """
    import hvac

    name, slash, version = place.partition("/")
    if not name or (slash and not version.isdigit()):
        raise InputError(f"{SCHEME}:{place} does not name a key: expected {SCHEME}:NAME or {SCHEME}:NAME/VERSION")
    client = hvac.Client()
    document = client.secrets.transit.read_key(name)["data"]
    if document["type"] != "ecdsa-p256":
        raise InputError(f"the key {name!r} in Vault is of type {document['type']}; expected ecdsa-p256")
    versions = {int(number): entry for number, entry in document["keys"].items()}
    chosen = int(version) if version else max(versions)
    if chosen not in versions:
        raise InputError(f"the key {name!r} in Vault has no version {chosen}; it has {', '.join(map(str, versions))}")
    return VaultKey(client, name, chosen, read_public_key(versions[chosen]["public_key"]))
