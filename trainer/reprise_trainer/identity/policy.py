"""The policy: whose signatures an image needs, and what else must be so. A TOML file that host and trainer read.

    [[keys]]
    name = "release"
    public_key = '''-----BEGIN PUBLIC KEY----- …'''

    [require]
    predicates = ["https://sigstore.dev/cosign/sign/v1"]

All other keys are optional; `docs/policy.md` lists them. `judge.py` says whether a policy holds for an image.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.canonical import DIGEST_PATTERN
from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, key_hint, read_public_key
from reprise_trainer.identity.policy_table import Table

SIZE_LIMIT = 1 << 20
"""Bytes of a policy file."""

_FINGERPRINT = re.compile(r"[A-Za-z0-9+/]{43}=\Z")
_COMPONENT = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"[A-Za-z0-9.\-\[\]:]+(?:/{_COMPONENT})*/(?:{_COMPONENT}|\*)\Z")


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """A trusted key: a name for messages, the PEM text of a P-256 public key, and when it ends (UTC; None: never)."""

    name: str
    public_key: str
    not_after: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """What `reprise key --json` calls so: base64 of the SHA-256 of the key's DER bytes."""
        return key_hint(read_public_key(self.public_key))

    def ended(self, at: datetime | None) -> bool:
        """Whether it no longer counts at a time; without a time, whether it ever ends."""
        return self.not_after is not None and (at is None or at > self.not_after)


@dataclass(frozen=True, slots=True)
class SignerIdentity:
    """Who a short-lived certificate must name: its issuer, and its subject or a regular expression for all of that."""

    issuer: str
    subject: str = ""
    subject_pattern: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """Trusted signers and what they must have signed.

    `signers` keys or identities, independent of each other, must have signed a statement of each type in `predicates`.
    `launchers` sign no images: only delegations to runs' keys. `trusted_root` is the pinned digest of the file by which
    certificates, log entries (`log`) and times (`time`) are judged; `root` is the file's bytes, which the host reads
    beside the policy and no TOML holds. Without `repositories` an image may come from anywhere.
    """

    keys: tuple[PolicyKey, ...]
    predicates: tuple[str, ...] = (IMAGE_SIGNATURE,)
    signers: int = 1
    repositories: tuple[str, ...] = ()
    not_after: datetime | None = None
    revoked_keys: tuple[str, ...] = ()
    revoked_images: tuple[str, ...] = ()
    identities: tuple[SignerIdentity, ...] = ()
    trusted_root: str = ""
    log: bool = False
    time: bool = False
    launchers: tuple[PolicyKey, ...] = ()
    root: bytes = field(default=b"", repr=False, compare=False)

    @property
    def needs_root(self) -> bool:
        """Whether it asks for something that only a trusted root can prove."""
        return bool(self.identities or self.trusted_root or self.log or self.time)

    def public_keys(self, at: datetime | None = None) -> dict[str, ec.EllipticCurvePublicKey]:
        """Name → public key of the keys for images that are not revoked, as `verify_bundle` takes them; given a time
        (with a time zone), of those that have not ended then."""
        return self._trusted(self.keys, at)

    def delegating_keys(self, at: datetime | None = None) -> dict[str, ec.EllipticCurvePublicKey]:
        """As `public_keys`, of those whose delegations count: the launchers' and the keys for images."""
        return self._trusted((*self.keys, *self.launchers), at)

    def _trusted(self, keys: tuple[PolicyKey, ...], at: datetime | None) -> dict[str, ec.EllipticCurvePublicKey]:
        found = {key.name: read_public_key(key.public_key) for key in keys if not (at and key.ended(at))}
        return {name: key for name, key in found.items() if key_hint(key) not in self.revoked_keys}

    def is_revoked(self, name: str) -> bool:
        """Whether the key of that name is revoked."""
        return self._key(name).fingerprint in self.revoked_keys

    def _key(self, name: str) -> PolicyKey:
        return next(each for each in (*self.keys, *self.launchers) if each.name == name)

    def why_untrusted(self, name: str, at: datetime | None) -> str:
        """Why the key of that name does not count at a time (None: unknown); empty when it does."""
        key = self._key(name)
        if self.is_revoked(name):
            return f"key {name!r} is revoked"
        if key.not_after and key.ended(at):
            return f"key {name!r} ended at {key.not_after:%Y-%m-%dT%H:%M:%SZ}" + ("" if at else "; no time is known")
        return ""


def allows(pattern: str, repository: str) -> bool:
    """Whether a pattern of `repositories` covers a repository (`host/path`): itself, or with `/*` all beneath it."""
    if pattern.endswith("/*"):
        return repository.startswith(pattern[:-1])
    return repository == pattern


def read_policy(data: bytes, *, where: str = "policy") -> Policy:
    """The policy in TOML bytes.

    Args:
        data: UTF-8 TOML.
        where: the file's name, for messages.

    Raises:
        InputError: not TOML, an unknown key (the nearest valid one is named), no keys, a key that is not P-256, or a
            rule that nothing can fulfil.
    """
    if len(data) > SIZE_LIMIT:
        raise InputError(f"{where}: a policy has at most {SIZE_LIMIT} bytes")
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{where}: not a TOML file: {error}") from error
    top = Table(document, where, ("policy", "keys", "identities", "launchers", "require", "revoked"))
    about = top.table("policy", ("not_after",))
    require = top.table("require", ("predicates", "signers", "repositories", "trusted_root", "log", "time"))
    revoked = top.table("revoked", ("keys", "images"))
    identities = tuple(
        _read_identity(each) for each in top.tables("identities", ("issuer", "subject", "subject_pattern"))
    )
    keys = _read_keys(top.tables("keys", ("name", "public_key", "not_after")), "keys", where)
    launchers = _read_keys(top.tables("launchers", ("name", "public_key", "not_after")), "launchers", where)
    if not keys and not identities:
        raise InputError(f"{where}: no [[keys]] and no [[identities]]; a policy without both can accept no image")
    if twice := sorted({key.name for key in keys} & {key.name for key in launchers}):
        raise InputError(f"{where}: a key and a launcher are both named {twice[0]!r}")
    signers = require.number("signers", 1)
    distinct = len({key.fingerprint for key in keys}) + len(identities)
    if signers > distinct:
        raise InputError(f"{where}: [require] signers asks for {signers} signers, but has {distinct} different ones")
    return Policy(
        keys,
        predicates=_read_predicates(require),
        signers=signers,
        repositories=require.texts("repositories", _REPOSITORY, "HOST/PATH or HOST/PATH/*, without a tag"),
        not_after=about.time("not_after"),
        revoked_keys=revoked.texts("keys", _FINGERPRINT, "a fingerprint as `reprise key --json` prints it"),
        revoked_images=revoked.texts("images", DIGEST_PATTERN, "sha256: and 64 hex digits"),
        identities=identities,
        trusted_root=require.text("trusted_root", DIGEST_PATTERN, "sha256: and 64 hex digits"),
        log=require.flag("log"),
        time=require.flag("time"),
        launchers=launchers,
    )


def write_policy(policy: Policy) -> str:
    """The TOML text of a policy; `read_policy` gives the same policy back."""
    blocks = []
    if policy.not_after:
        blocks.append(f"[policy]\n{_line('not_after', policy.not_after)}")
    for table, keys in (("keys", policy.keys), ("launchers", policy.launchers)):
        for key in keys:
            ends = _line("not_after", key.not_after) if key.not_after else ""
            pem = f'public_key = """\n{key.public_key.strip()}\n"""\n'
            blocks.append(f"[[{table}]]\nname = {_toml(key.name)}\n{ends}{pem}")
    for identity in policy.identities:
        fields = ("issuer", "subject", "subject_pattern")
        lines = [_line(name, getattr(identity, name)) for name in fields if getattr(identity, name)]
        blocks.append("[[identities]]\n" + "".join(lines))
    require = _line("predicates", policy.predicates)
    require += _line("signers", policy.signers) if policy.signers != 1 else ""
    require += _line("repositories", policy.repositories) if policy.repositories else ""
    require += _line("trusted_root", policy.trusted_root) if policy.trusted_root else ""
    require += _line("log", policy.log) if policy.log else ""
    require += _line("time", policy.time) if policy.time else ""
    blocks.append(f"[require]\n{require}")
    revoked = _line("keys", policy.revoked_keys) if policy.revoked_keys else ""
    revoked += _line("images", policy.revoked_images) if policy.revoked_images else ""
    blocks += [f"[revoked]\n{revoked}"] if revoked else []
    return "\n".join(blocks)


def _read_keys(entries: Iterable[Table], table: str, where: str) -> tuple[PolicyKey, ...]:
    keys: list[PolicyKey] = []
    for entry in entries:
        name, pem = entry.values.get("name"), entry.values.get("public_key")
        if not isinstance(name, str) or not name or not isinstance(pem, str):
            raise InputError(f"{entry.where} needs a name and a public_key, both strings")
        if any(key.name == name for key in keys):
            raise InputError(f"{where}: two {table} are named {name!r}")
        try:
            read_public_key(pem)
        except InputError as error:
            raise InputError(f"{entry.where} ({name}): {error.message}") from error
        keys.append(PolicyKey(name, pem.strip() + "\n", entry.time("not_after")))
    return tuple(keys)


def _read_identity(entry: Table) -> SignerIdentity:
    issuer, subject, pattern = (entry.text(name) for name in ("issuer", "subject", "subject_pattern"))
    if not issuer or bool(subject) == bool(pattern):
        raise InputError(f"{entry.where} needs an issuer, and either a subject or a subject_pattern")
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"{entry.where}: subject_pattern is not a regular expression: {error}") from error
    return SignerIdentity(issuer, subject, pattern)


def _read_predicates(require: Table) -> tuple[str, ...]:
    names = require.values.get("predicates", [IMAGE_SIGNATURE])
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{require.where} predicates must be a list of at least one predicate type")
    return tuple(dict.fromkeys(names))


def _line(name: str, value: object) -> str:
    return f"{name} = {_toml(value)}\n"


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        case tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case str():
            return f'"{"".join(map(_escaped, value))}"'
    return str(value)


def _escaped(char: str) -> str:
    if ord(char) < 0x20 or ord(char) == 0x7F:
        return f"\\u{ord(char):04x}"
    return {'"': '\\"', "\\": "\\\\"}.get(char, char)
