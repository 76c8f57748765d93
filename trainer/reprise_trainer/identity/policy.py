"""The policy: whose signatures an image needs. A TOML file, read by the host and by the trainer.

    [[keys]]
    name = "release"
    public_key = '''-----BEGIN PUBLIC KEY----- …'''

    [require]
    predicates = ["https://sigstore.dev/cosign/sign/v1"]

For each predicate type one statement about the image must be signed by one of the keys. Statements by strangers neither
help nor harm.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec

from reprise_trainer.errors import InputError, RepriseError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE, VerifiedStatement, read_public_key, verify_bundle

Outcome = Literal["holds", "fails", "not checked"]

_LISTED_REASONS = 5


@dataclass(frozen=True, slots=True)
class PolicyKey:
    """A trusted key: a name for messages and the PEM text of a P-256 public key."""

    name: str
    public_key: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Trusted keys, and the predicate types of which each needs one statement by one of them."""

    keys: tuple[PolicyKey, ...]
    predicates: tuple[str, ...] = (IMAGE_SIGNATURE,)

    def public_keys(self) -> dict[str, ec.EllipticCurvePublicKey]:
        """Name → public key, as `verify_bundle` takes them."""
        return {key.name: read_public_key(key.public_key) for key in self.keys}


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule of a policy, whether it holds, and why; for printing and for the decision."""

    rule: str
    outcome: Outcome
    why: str


def read_policy(data: bytes, *, where: str = "policy") -> Policy:
    """The policy in TOML bytes.

    Args:
        data: UTF-8 TOML.
        where: the file's name, for messages.

    Raises:
        InputError: not TOML, an unknown key (the nearest valid one is named), no keys, or a key that is not P-256.
    """
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{where}: not a TOML file: {error}") from error
    _known_keys(document, {"keys", "require"}, where)
    require = document.get("require", {})
    if not isinstance(require, dict):
        raise InputError(f"{where}: [require] must be a table")
    _known_keys(require, {"predicates"}, f"{where}: [require]")
    return Policy(_read_keys(document.get("keys"), where), _read_predicates(require, where))


def write_policy(policy: Policy) -> str:
    """The TOML text of a policy; `read_policy` gives the same policy back."""
    blocks = [
        f'[[keys]]\nname = {_toml_string(key.name)}\npublic_key = """\n{key.public_key.strip()}\n"""\n'
        for key in policy.keys
    ]
    names = ", ".join(_toml_string(name) for name in policy.predicates)
    return "\n".join([*blocks, f"[require]\npredicates = [{names}]\n"])


def evaluate(policy: Policy, image_digest: str, bundles: Iterable[bytes]) -> list[RuleResult]:
    """Each rule of the policy for one image, in the policy's order, then what was not checked.

    Args:
        policy: whose signatures are asked for.
        image_digest: the manifest digest, `sha256:<hex>`, that the statements must be about.
        bundles: the bytes of every bundle that is offered; those that don't verify count as absent.
    """
    keys = policy.public_keys()
    accepted: list[VerifiedStatement] = []
    rejected: list[str] = []
    for data in bundles:
        try:
            statement = verify_bundle(data, keys)
        except RepriseError as error:
            rejected.append(error.message)
            continue
        if statement.is_about(image_digest):
            accepted.append(statement)
        else:
            others = ", ".join(subject.digest for subject in statement.subjects[:3])
            rejected.append(f"a statement by key {statement.key_name!r} is about another image: {others}")
    results = [_predicate_result(name, accepted, rejected) for name in policy.predicates]
    return [*results, RuleResult("transparency log", "not checked", "the policy trusts keys and asks for no log entry")]


def all_hold(results: Sequence[RuleResult]) -> bool:
    """Whether the image may be used: no rule fails and at least one holds."""
    outcomes = {result.outcome for result in results}
    return "fails" not in outcomes and "holds" in outcomes


def _predicate_result(name: str, accepted: list[VerifiedStatement], rejected: list[str]) -> RuleResult:
    rule = f"signed statement {name}"
    signers = sorted({statement.key_name for statement in accepted if statement.predicate_type == name})
    if signers:
        return RuleResult(rule, "holds", "signed by key " + ", ".join(repr(signer) for signer in signers))
    reasons = list(dict.fromkeys(rejected))
    if others := sorted({statement.predicate_type for statement in accepted}):
        reasons.insert(0, "there are only statements of type " + ", ".join(others))
    if len(reasons) > _LISTED_REASONS:
        reasons[_LISTED_REASONS:] = [f"and {len(reasons) - _LISTED_REASONS} more"]
    return RuleResult(rule, "fails", "; ".join(reasons) or "the image has no signatures")


def _read_keys(entries: object, where: str) -> tuple[PolicyKey, ...]:
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where}: no [[keys]]; a policy without keys can accept no image")
    keys: list[PolicyKey] = []
    for number, entry in enumerate(entries, 1):
        place = f"{where}: [[keys]] number {number}"
        if not isinstance(entry, dict):
            raise InputError(f"{place} must be a table")
        _known_keys(entry, {"name", "public_key"}, place)
        name, pem = entry.get("name"), entry.get("public_key")
        if not isinstance(name, str) or not name or not isinstance(pem, str):
            raise InputError(f"{place} needs a name and a public_key, both strings")
        if any(key.name == name for key in keys):
            raise InputError(f"{where}: two keys are named {name!r}")
        try:
            read_public_key(pem)
        except InputError as error:
            raise InputError(f"{place} ({name}): {error.message}") from error
        keys.append(PolicyKey(name, pem.strip() + "\n"))
    return tuple(keys)


def _read_predicates(require: Mapping[str, Any], where: str) -> tuple[str, ...]:
    names = require.get("predicates", [IMAGE_SIGNATURE])
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{where}: [require] predicates must be a list of at least one predicate type")
    return tuple(dict.fromkeys(names))


def _known_keys(table: Mapping[str, Any], valid: set[str], where: str) -> None:
    for name in table:
        if name not in valid:
            nearest = difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.0)
            raise InputError(f"{where}: unknown key {name!r}; did you mean {nearest[0]!r}?")


def _toml_string(text: str) -> str:
    escaped = "".join(
        f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else {'"': '\\"', "\\": "\\\\"}.get(char, char)
        for char in text
    )
    return f'"{escaped}"'
