"""Which artifacts an advisory is about, by the rules of the OSV format."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.vulnerabilities.conftest import CONDA, CRITICAL, DEB, LOW_V4, WHEEL, osv

from reprise.lock.model import Artifact
from reprise.project import Project
from reprise.store import Store
from reprise.vulnerabilities.advisory import read_advisory
from reprise.vulnerabilities.match import Finding, match, subject_of

PYPI = {"ecosystem": "PyPI", "name": "Small.Thing"}
DEBIAN = {"ecosystem": "Debian:12", "name": "small"}


def found(artifact: Artifact, *documents: dict[str, Any]) -> list[Finding]:
    subject = subject_of(artifact)
    assert subject is not None
    return match(subject, [read_advisory(each) for each in documents])


@pytest.mark.parametrize(
    ("events", "hit"),
    [
        ([{"introduced": "0"}], True),
        ([{"introduced": "0"}, {"fixed": "2.0.1"}], False),
        ([{"introduced": "0"}, {"fixed": "2.0.2"}], True),
        ([{"introduced": "0"}, {"last_affected": "2.0.1"}], True),  # 2.0.1+cpu is a build of 2.0.1
        ([{"introduced": "0"}, {"last_affected": "2.0"}], False),
        ([{"introduced": "2.0.2"}], False),
        ([{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0"}, {"fixed": "2.1"}], True),
        ([{"fixed": "2.1"}, {"introduced": "2.0"}, {"fixed": "1.0"}, {"introduced": "0"}], True),  # in any order
        ([{"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "3.0"}], False),
        ([{"introduced": "0"}, {"fixed": "not a version"}], True),
        ([{"introduced": "not a version"}, {"fixed": "3"}], True),
    ],
)
def test_a_range_is_read_as_the_format_says(events: list[dict[str, str]], hit: bool) -> None:
    assert bool(found(WHEEL, osv("TEST-2026-1", PYPI, events))) is hit


def test_a_listed_version_counts_without_a_range() -> None:
    assert found(WHEEL, osv("TEST-2026-1", PYPI, affected={"versions": ["1.0", "2.0.1"]}))
    assert not found(WHEEL, osv("TEST-2026-1", PYPI, affected={"versions": ["1.0"]}))


def test_a_range_of_commits_says_nothing_about_versions() -> None:
    ranges = [{"type": "GIT", "repo": "https://example.org/a", "events": [{"introduced": "0"}]}]
    assert not found(WHEEL, osv("TEST-2026-1", PYPI, affected={"ranges": ranges}))


def test_a_withdrawn_advisory_counts_nothing() -> None:
    assert not found(WHEEL, osv("TEST-2026-1", PYPI, [{"introduced": "0"}], withdrawn="2026-02-01T00:00:00Z"))


def test_another_ecosystems_package_of_the_same_name_is_left_alone() -> None:
    for ecosystem in ("npm", "Debian:12", "Debian:11"):
        assert not found(WHEEL, osv("TEST-2026-1", {**PYPI, "ecosystem": ecosystem}, [{"introduced": "0"}]))


def test_debian_advisories_name_the_source_package_and_its_version() -> None:
    assert found(DEB, osv("TEST-2026-2", DEBIAN, [{"introduced": "0"}, {"fixed": "1:1.4-3"}]))
    assert not found(DEB, osv("TEST-2026-2", DEBIAN, [{"introduced": "0"}, {"fixed": "1:1.4-2"}]))
    assert found(DEB, osv("TEST-2026-2", DEBIAN, affected={"versions": ["1:1.4-2"]}))  # a rebuild is the same source
    assert not found(DEB, osv("TEST-2026-2", {**DEBIAN, "ecosystem": "Debian:11"}, [{"introduced": "0"}]))
    assert not found(DEB, osv("TEST-2026-2", {**DEBIAN, "name": "libsmall1"}, [{"introduced": "0"}]))


def test_a_conda_package_is_named_by_its_purl() -> None:
    package = {"ecosystem": "other", "name": "x", "purl": "pkg:conda/other"}
    assert found(
        CONDA, osv("TEST-2026-3", package, [{"introduced": "0"}, {"fixed": "1.1.1"}])
    )  # 1.1.1a is before 1.1.1
    assert not found(CONDA, osv("TEST-2026-3", package, [{"introduced": "0"}, {"fixed": "1.1.0"}]))
    assert not found(CONDA, osv("TEST-2026-3", {**package, "purl": "pkg:pypi/other"}, [{"introduced": "0"}]))


def test_a_version_without_a_place_in_the_order_counts_as_affected() -> None:
    odd = replace(WHEEL, purl=WHEEL.purl.replace("2.0.1%2Bcpu?", "snapshot?"))
    assert found(odd, osv("TEST-2026-1", PYPI, [{"introduced": "0"}, {"fixed": "1.0"}]))


def test_aliases_are_one_finding_with_the_worst_severity() -> None:
    always = [{"introduced": "0"}]
    word = {"severity": "LOW"}
    first = osv("TEST-2026-1", PYPI, always, aliases=["CVE-2026-0001"], database_specific=word)
    second = osv("OTHER-7", PYPI, always, aliases=["CVE-2026-0001"], severity=[{"type": "CVSS_V3", "score": CRITICAL}])
    third = osv("TEST-2026-9", PYPI, always)
    one, other = found(WHEEL, first, third, second)
    assert (one.id, one.aliases) == ("CVE-2026-0001", ("OTHER-7", "TEST-2026-1"))
    assert (one.severity, one.score) == ("critical", 9.8)
    assert (other.id, other.severity) == ("TEST-2026-9", "unknown")


def test_aliases_that_a_third_advisory_joins_are_one_finding() -> None:
    always = [{"introduced": "0"}]
    chain = [
        osv("A-1", PYPI, always, aliases=["CVE-2026-0001"]),
        osv("B-1", PYPI, always, aliases=["CVE-2026-0002"]),
        osv("C-1", PYPI, always, aliases=["A-1", "B-1"]),
    ]
    (one,) = found(WHEEL, *chain)
    assert set(one.aliases) | {one.id} == {"A-1", "B-1", "C-1", "CVE-2026-0001", "CVE-2026-0002"}


@pytest.mark.parametrize(
    ("more", "severity"),
    [
        ({"severity": [{"type": "CVSS_V3", "score": CRITICAL}]}, "critical"),
        ({"severity": [{"type": "CVSS_V4", "score": LOW_V4}]}, "low"),
        ({"severity": [{"type": "CVSS_V3", "score": "broken"}], "database_specific": {"severity": "HIGH"}}, "high"),
        ({"database_specific": {"severity": "MODERATE"}}, "medium"),
        ({"affected": {"ecosystem_specific": {"urgency": "unimportant"}}}, "low"),
        ({"affected": {"ecosystem_specific": {"urgency": "not yet assigned"}}}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_severity_is_the_vectors_else_the_databases_word(more: dict[str, Any], severity: str) -> None:
    (one,) = found(WHEEL, osv("TEST-2026-1", PYPI, [{"introduced": "0"}], **more))
    assert one.severity == severity


def test_the_pool_path_gives_the_source_that_the_control_file_names(project: Project, shared_store: Store) -> None:
    from reprise.bom.metadata import debian_metadata
    from reprise.environments import fetch_environment

    lock, _ = fetch_environment(project, "torch-cpu", shared_store)
    debs = [each for each in lock.artifacts if each.kind == "deb"]
    assert debs
    for deb in debs:
        fields = debian_metadata(shared_store.path(deb.digest), deb.purl).fields
        source, _, version = fields.get("Source", fields["Package"]).partition(" ")
        subject = subject_of(deb)
        assert subject is not None
        assert (subject.name, subject.version) == (source, version.strip("()") or fields["Version"])
