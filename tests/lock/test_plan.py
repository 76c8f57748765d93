"""The plan of layers: every artifact in one, and a change moves as few of them as it can."""

from __future__ import annotations

import random

from hypothesis import assume, given
from hypothesis import strategies as st

from reprise.lock.model import Artifact
from reprise.lock.plan import CONDA_GROUPS, LARGE, MAX_LAYERS, MOST_LARGE_CONDA, plan_layers

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
SETS = st.dictionaries(
    st.tuples(st.sampled_from(["pypi", "deb/debian", "conda"]), NAMES), st.integers(1, 2 * LARGE), max_size=40
)


def build(chosen: dict[tuple[str, str], int], version: str = "1") -> tuple[list[Artifact], dict[str, int]]:
    artifacts = [Artifact(f"pkg:{kind}/{name}@{version}", "0" * 64) for kind, name in chosen]
    return artifacts, dict(zip((each.purl for each in artifacts), chosen.values(), strict=True))


@given(SETS)
def test_every_artifact_is_in_one_layer_with_others_of_its_kind(chosen: dict[tuple[str, str], int]) -> None:
    artifacts, sizes = build(chosen)
    layers = plan_layers(artifacts, sizes)
    assert sorted(purl for layer in layers for purl in layer.artifacts) == sorted(sizes)
    assert len({layer.name for layer in layers}) == len(layers)
    for layer in layers:
        assert len({purl.partition("/")[0] for purl in layer.artifacts}) == 1


@given(SETS, st.randoms(use_true_random=False))
def test_the_order_of_the_artifacts_does_not_matter(chosen: dict[tuple[str, str], int], chance: random.Random) -> None:
    artifacts, sizes = build(chosen)
    shuffled = list(artifacts)
    chance.shuffle(shuffled)
    assert plan_layers(shuffled, sizes) == plan_layers(artifacts, sizes)


@given(SETS, st.tuples(st.just("pypi"), NAMES), st.integers(1, 2 * LARGE))
def test_one_more_artifact_changes_one_layer(
    chosen: dict[tuple[str, str], int], new: tuple[str, str], size: int
) -> None:
    chosen.pop(new, None)
    assume(sum(kind == "conda" for kind, _ in chosen) <= MOST_LARGE_CONDA)
    before = {layer.name: layer.artifacts for layer in plan_layers(*build(chosen))}
    after = {layer.name: layer.artifacts for layer in plan_layers(*build({**chosen, new: size}))}
    assert len([name for name in after if after[name] != before.get(name)]) == 1
    assert before.keys() <= after.keys()


@given(SETS)
def test_a_new_version_stays_in_its_layer(chosen: dict[tuple[str, str], int]) -> None:
    layers = plan_layers(*build(chosen))
    renewed = plan_layers(*build(chosen, version="2"))
    assert [layer.name for layer in layers] == [layer.name for layer in renewed]


def test_what_only_the_builder_uses_is_in_no_layer() -> None:
    artifact = Artifact("pkg:pypi/zstandard@1", "0" * 64, "build")
    assert plan_layers([artifact], {artifact.purl: 1}) == ()


def test_the_groups_are_what_they_were() -> None:
    """A change here moves packages between layers in every lock: it costs all users a download."""
    artifacts, sizes = build({("pypi", name): 1 for name in ("jinja2", "sympy", "filelock", "psutil", "pydantic")})
    groups = {purl: layer.name for layer in plan_layers(artifacts, sizes) for purl in layer.artifacts}
    assert [groups[each.purl] for each in artifacts] == ["wheel-3", "wheel-3", "wheel-3", "wheel-2", "wheel-0"]


def test_an_environment_of_hundreds_of_conda_packages_stays_below_the_limit() -> None:
    chosen = {("conda", f"p{number}"): LARGE if number % 4 == 0 else 1 for number in range(300)}
    layers = plan_layers(*build({**chosen, ("pypi", "torch"): LARGE, ("deb/debian", "libc6"): 1}))
    assert MOST_LARGE_CONDA < len(layers) <= CONDA_GROUPS + MOST_LARGE_CONDA + 2 < MAX_LAYERS
    assert (layers[0].name, layers[-1].name) == ("deb-3", "torch")


def test_conda_packages_lie_above_debian_s_and_below_wheels() -> None:
    sizes = {("pypi", "a"): 1, ("pypi", "b"): LARGE, ("conda", "a"): 1, ("conda", "b"): LARGE, ("deb/debian", "a"): 1}
    kinds = [layer.artifacts[0].partition("/")[0] for layer in plan_layers(*build(sizes))]
    assert kinds == ["pkg:deb", "pkg:conda", "pkg:conda", "pkg:pypi", "pkg:pypi"]
