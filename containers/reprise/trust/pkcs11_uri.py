"""How a key on a token is named: a PKCS #11 URI (RFC 7512), of which the parts that find one key are read.

pkcs11:token=release;id=%02?module-path=/usr/lib/softhsm/libsofthsm2.so
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, unquote_to_bytes

from reprise_trainer.errors import InputError

SCHEME = "pkcs11"

_IGNORED = frozenset({"type", "manufacturer", "model", "serial", "library-version", "library-manufacturer"})
"""Attributes that tokens' own tools print into their URIs, beside those that find the key."""

_LONGEST_ID = 32


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key's place: token's label, key's id (CKA_ID, as a number), and driver's library; empty where not said."""

    token: str
    key_id: int
    module: str


def parse_pkcs11_uri(text: str) -> TokenKey:
    """The place that a URI names.

    Raises:
        InputError: it is none, names the key in another way than by its id, or holds a PIN.
    """
    path, _, query = text.removeprefix(f"{SCHEME}:").partition("?")
    found = {**_attributes(path, ";", text), **_attributes(query, "&", text)}
    if pins := found.keys() & {"pin-value", "pin-source"}:
        raise InputError(
            f"{', '.join(sorted(pins))} in a key's name would show the PIN to other processes and logs",
            hint="It is asked for at the terminal, or given by --passphrase-fd or --passphrase-command.",
        )
    if unknown := found.keys() - _IGNORED - {"token", "id", "object", "module-path"}:
        raise InputError(f"{text!r}: the attribute {sorted(unknown)[0]!r} is not one that finds a key here")
    if "id" not in found:
        raise InputError(f"{text!r} names no id: a key is found by its token and its id, as token=LABEL;id=%01")
    key_id = unquote_to_bytes(found["id"])
    if not key_id or len(key_id) > _LONGEST_ID or key_id[0] == 0:
        raise InputError(f"{text!r}: the id must be 1 to {_LONGEST_ID} bytes, percent-encoded, the first of them not 0")
    return TokenKey(unquote(found.get("token", "")), int.from_bytes(key_id), unquote(found.get("module-path", "")))


def _attributes(part: str, separator: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in part.split(separator) if part else ():
        name, equals, value = each.partition("=")
        if not equals or name in found:
            raise InputError(f"{text!r} is not a PKCS #11 URI (RFC 7512): at {each!r}")
        found[name] = value
    return found
