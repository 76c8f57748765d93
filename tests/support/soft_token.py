"""A real PKCS #11 token in a folder, by SoftHSM: its PIN is checked, and its keys can't be read out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import program

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "4826"


@dataclass(frozen=True)
class SoftToken:
    """A token named "release" with EC keys: id 1 on P-256, id 2 on P-384. `config` is what SOFTHSM2_CONF names."""

    config: Path

    def uri(self, key_id: str = "%01", token: str = "release", module: str = MODULE) -> str:
        return f"pkcs11:token={token};id={key_id}?module-path={module}"


@contextmanager
def soft_token(folder: Path) -> Iterator[SoftToken]:
    """Make the token; for this process and its children, SoftHSM knows it until the block ends."""
    (folder / "tokens").mkdir(parents=True)
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(config))
        patch.delenv("PYKCS11LIB", raising=False)
        init = (program("softhsm2-util", "softhsm2"), "--init-token", "--free", "--label", "release")
        subprocess.run([*init, "--so-pin", "99887766", "--pin", PIN], check=True, capture_output=True)
        _make_keys()
        yield SoftToken(config)


def _make_keys() -> None:
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    with pkcs11.lib(MODULE).get_token(token_label="release").open(rw=True, user_pin=PIN) as session:
        for number, curve in ((1, "secp256r1"), (2, "secp384r1")):
            attributes = {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
            parameters = session.create_domain_parameters(pkcs11.KeyType.EC, attributes, local=True)
            parameters.generate_keypair(store=True, id=bytes([number]), label=f"key {number}")
