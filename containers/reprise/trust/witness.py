"""Adding what others prove to bundles that are signed already: an entry in a log, a time stamp.

The signature stays as it is, so this can be done days later, and by anybody who has the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec

from reprise.trust.keyless import certificate_identity, read_certificate
from reprise.trust.proofs import SigstoreProofs, read_material
from reprise.trust.witness_services import Verifier, WitnessServices
from reprise_trainer.canonical import canonical_json
from reprise_trainer.errors import RepriseError
from reprise_trainer.identity.bundle import Envelope, open_bundle, read_statement, verify_bundle
from reprise_trainer.identity.proofs import has_certificate

Outcome = Literal["there", "added", "lacking", "failed", "not offered"]


@dataclass(frozen=True, slots=True)
class Witnessing:
    """What became of one bundle: who signed a statement of which type, and whether log entry and time stamp are there.

    `why` says what failed. `bundle` holds everything that was added; it is the old one where nothing was.
    """

    by: str
    predicate_type: str
    log: Outcome
    time: Outcome
    why: str
    bundle: bytes

    @property
    def complete(self) -> bool:
        """Whether nothing is missing that the services offer."""
        return not {"failed", "lacking"} & {self.log, self.time}

    def as_json(self) -> dict[str, Any]:
        """What became of it, for `--json`."""
        named = ("by", "predicate_type", "log", "time", "why")
        return {name: getattr(self, name) for name in named}


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Who is asked, and by which trusted root the answers are checked. Without `ask` nobody is: a dry run."""

    services: WitnessServices
    proofs: SigstoreProofs
    ask: bool = True

    def witness(self, bundle: bytes, keys: Mapping[str, ec.EllipticCurvePublicKey]) -> Witnessing:
        """Have added what a bundle lacks. What one service gives is kept when the other does not answer.

        Args:
            bundle: signed by one of `keys` (name → public key), or by a certificate.

        Raises:
            InputError: it is no bundle.
            DoesNotHoldError: none of the keys signed it, or what it holds already is wrong.
        """
        envelope = open_bundle(bundle, certificates=True)
        if has_certificate(bundle):
            verifier: Verifier = (certificate := read_certificate(bundle))
            by = "{} ({})".format(*certificate_identity(certificate))
        else:
            name = verify_bundle(bundle, keys).key_name
            by, verifier = f"key {name!r}", keys[name]
        entries, stamps = read_material(bundle)
        if entries:
            self._check(bundle, verifier)
        elif stamps:
            self.proofs.require_stamps(stamps, envelope.signature)
        kind = read_statement(envelope.payload, by).predicate_type
        done = Witnessing(by, kind, "there", "there", "", bundle)
        if not stamps:
            done = self._add_time(done, envelope, verifier)
        return done if entries else self._add_log(done, envelope, verifier)

    def witness_fresh(self, bundle: bytes) -> Witnessing:
        """As `witness`, for what a certificate signed just now: a stamp still proves that it was good."""
        certificate = read_certificate(bundle)
        envelope, by = open_bundle(bundle, certificates=True), "{} ({})".format(*certificate_identity(certificate))
        kind = read_statement(envelope.payload, by).predicate_type
        stamped = self._ask_time(Witnessing(by, kind, "lacking", "not offered", "", bundle), envelope, certificate)
        return self._add_log(stamped, envelope, certificate)

    def _add_time(self, done: Witnessing, envelope: Envelope, verifier: Verifier) -> Witnessing:
        if not isinstance(verifier, ec.EllipticCurvePublicKey):
            return replace(done, time="not offered")  # a certificate is over by now: a stamp of today breaks its bundle
        return self._ask_time(done, envelope, verifier)

    def _ask_time(self, done: Witnessing, envelope: Envelope, verifier: Verifier) -> Witnessing:
        if not self.services.stampers:
            return replace(done, time="not offered")
        if not self.ask:
            return replace(done, time="lacking")
        try:
            stamps = [self.services.time_stamp(each, envelope.signature) for each in self.services.stampers]
            new = _with(done.bundle, "timestampVerificationData", {"rfc3161Timestamps": stamps})
            self.proofs.require_stamps(stamps, envelope.signature)
        except RepriseError as error:
            return replace(done, time="failed", why=error.message)
        return replace(done, time="added", bundle=new)

    def _add_log(self, done: Witnessing, envelope: Envelope, verifier: Verifier) -> Witnessing:
        if not self.ask:
            return replace(done, log="lacking")
        try:
            new = self._with_entry(done.bundle, self.services.log_entry(envelope, verifier), verifier)
        except RepriseError as error:
            return replace(done, log="failed", why="; ".join(filter(None, (done.why, error.message))))
        return replace(done, log="added", bundle=new)

    def _with_entry(self, bundle: bytes, entry: dict[str, Any], verifier: Verifier) -> bytes:
        """A bundle with its log entry, checked.

        A log's time past a certificate's end would spoil the bundle. Without the log's promise of that time, the stamp
        that is there decides when the certificate was used.
        """
        new = _with(bundle, "tlogEntries", [entry])
        try:
            self._check(new, verifier)
        except RepriseError:
            if isinstance(verifier, ec.EllipticCurvePublicKey) or not read_material(bundle)[1]:
                raise
            untimed = {name: entry[name] for name in entry.keys() - {"inclusionPromise", "integratedTime"}}
            new = _with(bundle, "tlogEntries", [untimed])
            self._check(new, verifier)
        return new

    def _check(self, bundle: bytes, verifier: Verifier) -> None:
        """Raises DoesNotHoldError where a bundle holds what the trusted root does not vouch for."""
        if isinstance(verifier, ec.EllipticCurvePublicKey):
            self.proofs.witnessed(bundle, verifier)
        else:
            self.proofs.require_certified(bundle)


def _with(bundle: bytes, field: str, value: object) -> bytes:
    """A bundle with something added to its verification material."""
    document = json.loads(bundle)
    document["verificationMaterial"][field] = value
    return canonical_json(document)
