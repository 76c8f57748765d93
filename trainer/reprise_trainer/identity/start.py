"""The check at the start of a run: what runs here is the image that was signed, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from reprise_trainer.canonical import sha256_digest
from reprise_trainer.errors import InputError, RefusedError, RepriseError
from reprise_trainer.identity import launch as launch_folder
from reprise_trainer.identity.driver import DRIVER_MOUNTS, NO_DRIVER, Driver, find_driver
from reprise_trainer.identity.launch import Launch, decode_launch, read_launch_file
from reprise_trainer.identity.measure import NAMED, Measurement, measure
from reprise_trainer.identity.mounts import ALLOWED_MOUNTS, Mount, allowed_points, check_mounts, read_mounts
from reprise_trainer.identity.own_code import OwnCode, changed_files
from reprise_trainer.identity.process import (
    ProcessFacts,
    check_mappings,
    check_process,
    read_mappings,
    read_modules,
    read_process,
)
from reprise_trainer.secret_files import MOUNTED_AT, wrong_secret_files

if TYPE_CHECKING:
    from reprise_trainer.identity.judge import RuleResult
    from reprise_trainer.identity.policy import Policy


@dataclass(frozen=True, slots=True)
class Identity:
    """A run that knows what it is: `digest` is the image's, measured and signed; `key_name` names the policy's key that
    signed it (several, separated by commas). `driver` is the host's for its GPUs, where there is one."""

    digest: str
    key_name: str
    launch: Launch
    measurement: Measurement
    driver: Driver = NO_DRIVER

    def line(self) -> str:
        """One line for people."""
        return self.measurement.line()


def verify_identity(
    folder: Path = launch_folder.MOUNTED_AT,
    *,
    switches: Mapping[str, str] | None = None,
    root: Path = Path("/"),
    mounts: Sequence[Mount] | None = None,
    process: ProcessFacts | None = None,
    owner: tuple[int, int] = (0, 0),
    at: datetime | None = None,
) -> Identity:
    """Measure this root and process, and compare with what the launcher was told and what was signed.

    The measured digest must be that of launch.json, and the policy must hold for it. Uses
    nothing but the standard library until every file is known to be the image's own; only then `cryptography`.

    Args:
        folder: the launch folder.
        switches: environment variables that the profile sets, with their values.
        root, mounts, process, owner: what to judge; by default what this process really has.
        at: the time, with a time zone, at which keys and policy must not have ended; by default now.

    Raises:
        RefusedError: something differs; the message names each thing, at most 20, and how many there are.
    """
    mounts = read_mounts() if mounts is None else mounts
    facts = read_process() if process is None else process
    allowed = (*ALLOWED_MOUNTS, *DRIVER_MOUNTS)
    measurement = measure(root, mounted=allowed_points(mounts, allowed), owner=owner)
    driver = find_driver(root, mounts, measurement)
    config = measurement.inventory.config.get("config", {})
    _refuse_if_any(
        "this is not the image as it was built",
        [
            *check_process(facts, config, switches),
            *check_mounts(mounts, allowed),
            *_check_secrets(root, mounts),
            *driver.problems,
            *driver.unexplained(measurement.differences),
            *check_mappings(facts.mapped, facts.modules, measurement.listed.keys() | driver.paths),
        ],
    )
    launch = _read_launch(folder)
    if launch.image != measurement.digest:
        raise RefusedError(
            f"wrong image: the launcher asked for {launch.image}, this one measures {measurement.digest}"
        )
    signed_by = _signed_by(folder, measurement.digest, at or datetime.now(UTC))
    return Identity(measurement.digest, signed_by, launch, measurement, driver)


def verify_end(identity: Identity, code: OwnCode | None = None) -> None:
    """Compare once more, at the end of a run, what is mapped into the process and imported with the image's lists.

    Args:
        identity: as at the start.
        code: the run's own, where it has some; it must still be what the configuration named.

    Raises:
        RefusedError: something from outside the image was loaded meanwhile.
    """
    own = code.modules if code else frozenset[str]()
    known = identity.measurement.listed.keys() | identity.driver.paths
    problems = check_mappings(read_mappings(), read_modules(), known, own)
    _refuse_if_any("NVIDIA's driver is not as it was", identity.driver.changed())
    _refuse_if_any("the run's own code is not as it was", changed_files(code) if code else ())
    _refuse_if_any("code from outside the image was loaded during the run", problems)


def _check_secrets(root: Path, mounts: Sequence[Mount]) -> Sequence[str]:
    place = MOUNTED_AT.relative_to("/")
    return wrong_secret_files(root / place) if any(mount.point == str(place) for mount in mounts) else ()


def _read_launch(folder: Path) -> Launch:
    data = read_launch_file(folder, launch_folder.LAUNCH_FILE, "nothing says which image this should be")
    try:
        return decode_launch(data)
    except InputError as error:
        raise RefusedError(str(error)) from error


def _signed_by(folder: Path, digest: str, at: datetime) -> str:
    """The names of the policy's keys that signed the image; the launcher's, where only it could judge who signed.

    All rules of the policy are asked that an image and its bundles decide; which repository the image came from was the
    launcher's to judge. What nothing here can check (certificates, logs, times) holds by the launcher's word alone: its
    delegation has to name this very policy. What fails here fails, whatever the launcher says.

    Raises:
        RefusedError: a rule does not hold, or there is no bundle.
    """
    from reprise_trainer.identity.judge import counted, evaluate  # cryptography: measured by now
    from reprise_trainer.identity.policy import read_policy

    policy_bytes = read_launch_file(folder, launch_folder.POLICY_FILE, "no policy says whose signature counts")
    bundles = launch_folder.read_bundles(folder, f"image {digest} comes without a signature")
    try:
        policy = read_policy(policy_bytes)
    except InputError as error:
        raise RefusedError(f"the policy does not say whose signature counts: {error}") from error
    results = evaluate(policy, digest, bundles, at=at)
    open_rules = [each for each in results if each.required and each.outcome != "holds"]
    if any(each.outcome == "fails" for each in open_rules):
        reasons = "; ".join(str(each) for each in open_rules)
        raise RefusedError(f"the policy does not hold for image {digest}: {reasons}")
    names = {each.statement.key_name for each in counted(policy, digest, bundles, at=at)}
    if open_rules:
        names.add(_vouched_by(folder, digest, policy, sha256_digest(policy_bytes), at, open_rules))
    return ", ".join(sorted(names))


def _vouched_by(
    folder: Path, digest: str, policy: Policy, policy_digest: str, at: datetime, rules: Sequence[RuleResult]
) -> str:
    """The launcher who says, in its delegation, that it judged the image by this policy: also by the rules that nothing
    here can check."""
    from reprise_trainer.identity.bundle import verify_bundle
    from reprise_trainer.identity.delegation import read_delegation, require_unexpired

    reasons = "; ".join(map(str, rules))
    unvouched = f"the policy is not known to hold for image {digest}: {reasons}"
    data = read_launch_file(folder, launch_folder.DELEGATION_FILE, unvouched)
    try:
        signed = verify_bundle(data, policy.delegating_keys(at))
        delegation = read_delegation(signed)
        require_unexpired(delegation, at)
    except RepriseError as error:
        raise RefusedError(f"{unvouched}; and the launcher's delegation does not hold: {error.message}") from error
    if (delegation.image, delegation.policy) != (digest, policy_digest):
        raise RefusedError(f"{unvouched}; and the launcher's delegation does not say that it held")
    return signed.key_name


def _refuse_if_any(what: str, problems: Sequence[str]) -> None:
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:NAMED])
        more = f"\n  … and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        count = "1 difference" if len(problems) == 1 else f"{len(problems)} differences"
        raise RefusedError(f"{what}: {count}\n{shown}{more}")
