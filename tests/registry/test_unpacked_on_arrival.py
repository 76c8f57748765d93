"""`reprise pull --unpack` unpacks while it downloads; what a registry does wrong leaves nothing unpacked."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oci_registry import Fault, OciRegistry

from reprise.engine import arriving
from reprise.engine.arriving import unpacked_on_arrival
from reprise.engine.interface import ImageRef, Layer
from reprise.engine.unpack import folder_name, make_unpacked_folder, only_unpacker, unpacked_folder
from reprise.events import Event, ignore
from reprise.registry.pull import PullReport, pull
from reprise.registry.push import push
from reprise.registry.reference import parse_reference
from reprise.store import Store
from reprise_trainer.errors import DoesNotHoldError, UnavailableError


@pytest.fixture(autouse=True)
def small_images_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "WORTH_PROCESSES", 0)


@pytest.fixture
def fresh(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "fresh")


def noise(image: Any) -> Layer:
    """The image's one large layer."""
    return max(ImageRef(image.store, image.digest).layers(), key=lambda layer: layer.size)


def pulled(registry: OciRegistry, store: Store, on_event: Callable[[Event], None] = ignore) -> PullReport:
    with unpacked_on_arrival(store, on_event) as arrival:
        return pull(parse_reference(f"{registry.host}/team/small:1"), store, on_event=on_event, arrival=arrival)


def unpacked(store: Store) -> set[str]:
    folder = unpacked_folder(store)
    return {path.name for path in folder.iterdir() if path.name != ".lock"} if folder.is_dir() else set()


def all_of(image: Any) -> set[str]:
    return {folder_name(layer) for layer in ImageRef(image.store, image.digest).layers()}


def test_all_is_unpacked_when_the_pull_ends(image: Any, registry: OciRegistry, fresh: Store) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    report = pulled(registry, fresh)
    assert unpacked(fresh) == all_of(image)
    plain = pull(parse_reference(f"{registry.host}/team/small:1"), Store.open(fresh.root.parent / "plain"))
    assert report.as_json() == plain.as_json()


def test_layers_appear_while_the_largest_still_comes_in(image: Any, registry: OciRegistry, fresh: Store) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    registry.faults = [Fault("GET", noise(image).digest, pace=0.05)]
    seen: list[tuple[int, set[str]]] = []

    def on_event(event: Event) -> None:
        if event["event"] == "pull" and event["total"] == noise(image).size:
            seen.append((event["bytes"], unpacked(fresh)))

    pulled(registry, fresh, on_event)
    others = all_of(image) - {folder_name(noise(image))}
    early = [names for at, names in seen if at < noise(image).size]
    assert early and others < early[-1]
    assert any(name.startswith(".part-") for name in early[-1])  # the largest is on its way, too
    assert not any(folder_name(noise(image)) in names for names in early)


@pytest.mark.parametrize("drop", [0, 1, 1_500_000])
def test_a_dropped_connection_changes_nothing(image: Any, registry: OciRegistry, fresh: Store, drop: int) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    registry.faults = [Fault("GET", noise(image).digest, drop=drop)]
    pulled(registry, fresh)
    assert unpacked(fresh) == all_of(image)


def test_a_layer_that_is_here_in_part_goes_on(image: Any, registry: OciRegistry, fresh: Store) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    layer = noise(image)
    fresh.partial(layer.digest).write_bytes(image.store.read(layer.digest)[:2_000_000])
    assert pulled(registry, fresh).bytes < layer.size - 1_900_000
    assert unpacked(fresh) == all_of(image)


def test_a_leftover_of_something_else_does_no_harm(image: Any, registry: OciRegistry, fresh: Store) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    layer = noise(image)
    fresh.partial(layer.digest).write_bytes(b"?" * 1000)
    pulled(registry, fresh)
    fresh.check(layer.digest)
    assert unpacked(fresh) >= all_of(image) - {folder_name(layer)}
    assert not [name for name in unpacked(fresh) if name.startswith(".part-")]


def test_a_blob_with_another_digest_is_not_unpacked(image: Any, registry: OciRegistry, fresh: Store) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    layer = noise(image)
    (place,) = [place for place in registry.blobs if place[1] == layer.digest]
    blob = registry.blobs[place]
    registry.blobs[place] = blob[:-1] + bytes([blob[-1] ^ 1])
    with pytest.raises(DoesNotHoldError, match=f"when asked for {layer.digest}"):
        pulled(registry, fresh)
    assert folder_name(layer) not in unpacked(fresh)
    assert not [name for name in unpacked(fresh) if name.startswith(".part-")]


def test_a_registry_that_breaks_off_leaves_no_half_layer(
    image: Any, registry: OciRegistry, fresh: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    layer = noise(image)
    registry.faults = [Fault("GET", layer.digest, drop=1_000_000), Fault("GET", layer.digest, status=503, times=99)]
    with pytest.raises(UnavailableError):
        pulled(registry, fresh)
    assert folder_name(layer) not in unpacked(fresh)
    assert not [name for name in unpacked(fresh) if name.startswith(".part-")]
    registry.faults = []
    pulled(registry, fresh)
    assert unpacked(fresh) == all_of(image)


def test_where_somebody_else_unpacks_the_pull_does_not_wait(image: Any, registry: OciRegistry, fresh: Store) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    with only_unpacker(make_unpacked_folder(fresh)):
        pulled(registry, fresh)
    assert unpacked(fresh) == set()


def test_a_pull_that_was_killed_goes_on(image: Any, registry: OciRegistry, fresh: Store) -> None:
    push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
    layer = noise(image)
    registry.faults = [Fault("GET", layer.digest, pace=0.1)]
    program = (
        "from reprise.engine import arriving; arriving.WORTH_PROCESSES = 0; from reprise.cli.main import main; main()"
    )
    words = ["pull", f"{registry.host}/team/small:1", "--unpack", "--store", str(fresh.root)]
    with subprocess.Popen([sys.executable, "-c", program, *words]) as process:
        end = time.monotonic() + 60
        while not any(name.startswith(".part-") for name in unpacked(fresh)):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        process.kill()
    assert folder_name(layer) not in unpacked(fresh)
    subprocess.run([sys.executable, "-c", program, *words], check=True, stdout=subprocess.DEVNULL)
    assert unpacked(fresh) == all_of(image)
