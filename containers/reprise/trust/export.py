"""A policy in the words of other tools: containers' policy.json (podman, skopeo, CRI-O) and Kubernetes' admission.

What a tool cannot be told is listed beside the files; a policy that would come out weaker in who must sign is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from reprise_trainer.durable import storage_error, write_durably
from reprise_trainer.errors import InputError
from reprise_trainer.identity.bundle import IMAGE_SIGNATURE
from reprise_trainer.identity.policy import Policy, PolicyKey

Target = Literal["containers", "kubernetes"]

KUBERNETES_API = "policy.sigstore.dev/v1beta1"


@dataclass(frozen=True, slots=True)
class Export:
    """Files (path below the folder → text), the rules of the policy that the tool will not check, and which of the
    files are programs."""

    files: Mapping[str, str]
    not_carried: tuple[str, ...] = field(default=())
    executables: frozenset[str] = frozenset()


def export_policy(policy: Policy, target: Target, folder: Path, at: datetime) -> Export:
    """A policy for another tool.

    Args:
        target: `containers` for policy.json, registries.d and keys; `kubernetes` for a ClusterImagePolicy of sigstore's
            policy-controller.
        folder: where the files will be; policy.json names keys by their full path.
        at: now; keys that have ended or are revoked are left out.

    Raises:
        InputError: the tool can't ask for this: so many signers out of so many keys, or identities.
    """
    keys = [key for key in policy.keys if not policy.why_untrusted(key.name, at)]
    if policy.not_after and at > policy.not_after:
        raise InputError(f"the policy ended at {policy.not_after:%Y-%m-%dT%H:%M:%SZ}")
    if policy.needs_root:
        raise InputError("identities, trusted_root, log and time cannot be exported: only keys can")
    if len({key.fingerprint for key in keys}) < max(policy.signers, 1):
        raise InputError(f"{len(keys)} of the policy's keys still count, {policy.signers} signers are asked for")
    if policy.signers not in (1, len(keys)):
        raise InputError(
            f"{policy.signers} of {len(keys)} signers cannot be exported: other tools ask for any key or for all",
            hint="Keep `reprise verify` for this policy, or make one whose `signers` is 1 or the number of its keys.",
        )
    if target == "containers":
        return Export(_containers_files(policy, keys, folder), tuple(_not_carried(policy, containers=True)))
    return Export(_kubernetes_files(policy, keys), tuple(_not_carried(policy, containers=False)))


def write_export(export: Export, folder: Path) -> list[Path]:
    """Write an export's files; their paths.

    Raises:
        StorageError: the folder cannot be written.
    """
    written = []
    for name, text in export.files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, path) from error
        write_durably(path, text.encode(), mode=0o755 if name in export.executables else 0o644)
        written.append(path)
    return written


def _not_carried(policy: Policy, *, containers: bool) -> list[str]:
    others = [name for name in policy.predicates if name != IMAGE_SIGNATURE]
    rules = [f"statements of type {', '.join(others)}"] if others and containers else []
    rules += [f"the end of key {key.name!r}" for key in policy.keys if key.not_after]
    rules += ["the end of the policy"] if policy.not_after else []
    rules += ["revoked images"] if policy.revoked_images else []
    if not containers:
        exact = [pattern for pattern in policy.repositories if not pattern.endswith("/*")]
        rules += [f"where the name of {each} ends: {each}-more counts as well" for each in exact]
    return [*rules, "a tag that goes back to an older image"]


def _containers_files(policy: Policy, keys: Sequence[PolicyKey], folder: Path) -> dict[str, str]:
    """Source: containers-policy.json(5), containers-registries.d(5). A namespace's scope also covers the repository of
    its own name; requirements in a list must all hold, keys in `keyPaths` are alternatives. Signatures as cosign writes
    them name a repository without a tag, which the default for `signedIdentity` refuses."""
    files = {_key_file(key): key.public_key for key in keys}
    paths = [str(folder.resolve() / name) for name in files]
    keys_asked: list[dict[str, Any]] = [{"keyPath": path} for path in paths]
    if policy.signers == 1 and len(keys) > 1:
        keys_asked = [{"keyPaths": paths}]
    rule = [{"type": "sigstoreSigned", **each, "signedIdentity": {"type": "matchRepository"}} for each in keys_asked]
    scopes = [pattern.removesuffix("/*") for pattern in policy.repositories] or [""]
    document = {"default": [{"type": "reject"}], "transports": {"docker": dict.fromkeys(scopes, rule)}}
    attachments = {"use-sigstore-attachments": True}
    registries: dict[str, Any] = {"docker": dict.fromkeys(scopes, attachments)}
    if scopes == [""]:
        registries = {"default-docker": attachments}
    return {
        "policy.json": _json(document),
        "registries.d/reprise.yaml": _json(registries),  # JSON is YAML
        **files,
    }


def _kubernetes_files(policy: Policy, keys: Sequence[PolicyKey]) -> dict[str, str]:
    """Source: policy-controller's API types (v1beta1). Authorities are alternatives; every policy that matches an image
    must hold: so any of the keys is one policy, and all of them are one policy each."""
    globs = [{"glob": _glob(pattern)} for pattern in policy.repositories]
    groups = [list(keys)] if policy.signers == 1 else [[key] for key in keys]
    documents = []
    for number, group in enumerate(groups, 1):
        documents.append(
            {
                "apiVersion": KUBERNETES_API,
                "kind": "ClusterImagePolicy",
                "metadata": {"name": "reprise" if len(groups) == 1 else f"reprise-{number}"},
                "spec": {
                    "mode": "enforce",
                    "images": globs or [{"glob": "**"}],
                    "authorities": [
                        _authority(f"{_slug(key.name)}-{place}", key, policy.predicates)
                        for place, key in enumerate(group, 1)
                    ],
                },
            }
        )
    return {"cluster-image-policy.yaml": "---\n".join(_json(each) for each in documents)}


def _glob(pattern: str) -> str:
    """A pattern of repositories as the controller's, which is matched against an image's whole name, with its tag or
    digest, and names docker's hub as docker once did. No glob may have an `@`: `*` stands for it, and for more.
    Source: policy-controller's pkg/apis/glob."""
    return re.sub(r"\Adocker\.io/", "index.docker.io/", pattern) + "*"


def _authority(name: str, key: PolicyKey, predicates: Sequence[str]) -> dict[str, Any]:
    """A key, and the statements that it must have signed. Of bundles the controller reads attestations alone, and an
    image signature in a bundle is one, of a type of its own."""
    statements = [{"name": f"statement-{number}", "predicateType": name} for number, name in enumerate(predicates, 1)]
    return {
        "name": name,
        "key": {"data": key.public_key, "hashAlgorithm": "sha256"},
        "signatureFormat": "bundle",
        "attestations": statements,
    }


def _key_file(key: PolicyKey) -> str:
    return f"keys/{_slug(key.name)}-{re.sub('[^A-Za-z0-9]', '', key.fingerprint)[:12]}.pub"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "key"


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
