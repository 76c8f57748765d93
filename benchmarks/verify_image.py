"""How long a host waits for the verdict on an image before it starts it: `reprise verify` against `cosign verify`.

Whole processes, warm, from the command line to the exit code, imports included: the manifest, the signature and the
policy. The same image is signed by a key, and keyless by a private Sigstore with a transparency log (Rekor v1). Both
sides verify offline, by a trusted root in a file: no log, no authority and no TUF repository is asked (the private
Sigstore has ended by then). `reprise` reads its store; cosign asks a registry on loopback, since it reads no store.
They take turns, and the best time of each counts, since other work on the machine only ever adds. The processor's
seconds are printed beside it: they say more on a machine that others use.

Needs docker-registry; cosign 3 comes from `scripts/get-newer`. Run: .venv/bin/python benchmarks/verify_image.py
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from peers.pulls import processor_seconds, seconds

from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise.trust.keyless_signer import KeylessSigner, read_trust_config
from reprise.trust.keys import make_key
from reprise.trust.policy_file import own_policy
from reprise.trust.sign import Signs, sign_image
from reprise_trainer.canonical import sha256_digest
from reprise_trainer.identity.bundle import public_pem
from reprise_trainer.identity.policy import Policy, SignerIdentity, write_policy

CHECKOUT = Path(__file__).parents[1]
sys.path.append(str(CHECKOUT / "tests" / "support"))
servers = importlib.import_module("servers")
private_sigstore = importlib.import_module("private_sigstore")
small_image = importlib.import_module("small_image")

ROUNDS = 15
BUILDER = "https://ci.example.org/lab/image.yml@refs/heads/main"
LIMITS = {"key": 0.3, "keyless": 1.0}
"""Seconds that a verdict may take."""


def main() -> int:
    done = subprocess.run([CHECKOUT / "scripts/get-newer", "cosign", "sid"], check=True, capture_output=True, text=True)
    cosign = f"{done.stdout.strip()}/cosign"
    with tempfile.TemporaryDirectory(prefix="reprise-bench-") as name:
        folder = Path(name)
        os.environ |= {"REPRISE_HOME": str(folder / "home"), "HOME": str(folder), "DOCKER_CONFIG": str(folder)}
        with servers.docker_registry(folder / "registry") as host:
            commands = {
                "key": by_key(folder / "key", host, cosign),
                "keyless": by_identity(folder / "keyless", host, cosign),
            }
            taken: dict[str, tuple[list[float], list[float]]] = {kind: ([], []) for kind in commands}
            busy: dict[str, list[float]] = {kind: [] for kind in commands}
            for number in range(ROUNDS + 1):
                for kind, (ours, theirs) in commands.items():
                    before = processor_seconds()
                    mine = seconds(ours)
                    busy[kind].append(processor_seconds() - before)
                    times = mine, seconds(theirs)
                    if number > 0:  # the first reads the files
                        taken[kind][0].append(times[0])
                        taken[kind][1].append(times[1])
    for kind, (ours, theirs) in taken.items():
        figures = f"{min(ours):.3f} s, median {median(ours):.3f} s, processor {min(busy[kind]):.3f} s"
        print(f"{kind:8} reprise {figures}   cosign {min(theirs):.3f} s")
    for kind, (ours, theirs) in taken.items():
        print(f"cosign-{kind} {min(theirs) / min(ours):.2f}")
    late = [f"{kind}: more than {limit} s" for kind, limit in LIMITS.items() if min(taken[kind][0]) > limit]
    for each in late:
        print(each, file=sys.stderr)
    return 1 if late else 0


def by_key(folder: Path, host: str, cosign: str) -> tuple[list[str], list[str]]:
    """Our command and cosign's for an image that a key signed."""
    folder.mkdir()
    key = make_key()
    store, digest, reference = signed(folder, host, "bench/key", key)
    policy, public, root = folder / "policy.toml", folder / "key.pub", folder / "root.json"
    policy.write_text(write_policy(own_policy(key.public_key())))
    public.write_text(public_pem(key.public_key()))
    root.write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    options = ["--key", str(public), "--trusted-root", str(root), "--insecure-ignore-tlog=true"]
    return verify(store, digest, policy), [cosign, "verify", *options, reference]


def by_identity(folder: Path, host: str, cosign: str) -> tuple[list[str], list[str]]:
    """Our command and cosign's for an image that was signed keyless; its Sigstore is gone when this returns."""
    folder.mkdir()
    config, policy, root = folder / "config.json", folder / "policy.toml", folder / "trusted_root.json"
    with private_sigstore.private_sigstore() as sigstore:
        config.write_text(json.dumps(sigstore.trust_config()))
        root.write_text(json.dumps(sigstore.trusted_root()))
        signer = KeylessSigner(read_trust_config(config), lambda: str(sigstore.provider.token(BUILDER)))
        store, digest, reference = signed(folder, host, "bench/keyless", signer)
        issuer = str(sigstore.provider.url)
    identities = (SignerIdentity(issuer, BUILDER),)
    policy.write_text(write_policy(Policy((), identities=identities, trusted_root=sha256_digest(root.read_bytes()))))
    options = ["--trusted-root", str(root), "--certificate-oidc-issuer", issuer, "--certificate-identity", BUILDER]
    return verify(store, digest, policy), [cosign, "verify", *options, reference]


def signed(folder: Path, host: str, repository: str, signer: Signs) -> tuple[Store, str, str]:
    """An image in a store and in the registry, with its signature: store, digest, reference."""
    store = Store.open(folder / "store")
    layers = {"base": small_image.base_entries(), "torch": small_image.tiny_entries()}
    digest = small_image.make_image(store, layers).digest
    sign_image(store, digest, "bench", signer)
    return store, digest, push(store, digest, parse_reference(f"{host}/{repository}")).reference


def verify(store: Store, digest: str, policy: Path) -> list[str]:
    program = str(Path(sys.executable).with_name("reprise"))
    return [program, "verify", digest, "--store", str(store.root), "--policy", str(policy)]


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    sys.exit(main())
