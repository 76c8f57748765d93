"""`reprise scan`, `reprise outdated`, and bills of materials at signing, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

from reprise.store import Store
from tests.cli.conftest import Reprise
from tests.interop.conftest import put_image

ADVISORY = {
    "schema_version": "1.7.0",
    "id": "TEST-2026-1",
    "modified": "2026-01-01T00:00:00Z",
    "summary": "made up",
    "database_specific": {"severity": "HIGH"},
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "jinja2"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
        }
    ],
}
IGNORE = '[[ignore]]\nid = "TEST-2026-1"\nreason = "no templates from strangers"\nuntil = {until}\n'


def database(folder: Path) -> Path:
    (folder / "osv").mkdir()
    (folder / "osv" / "TEST-2026-1.json").write_text(json.dumps(ADVISORY))
    return folder / "osv"


def test_fail_on_decides_the_exit_code(reprise: Reprise, tmp_path: Path) -> None:
    osv = database(tmp_path)
    assert reprise("scan", "torch-cpu", "--database", osv).code == 0
    assert reprise("scan", "torch-cpu", "--database", osv, "--fail-on", "critical").code == 0
    done = reprise("scan", "torch-cpu", "--database", osv, "--fail-on", "high", "--sarif", tmp_path / "a.sarif")
    assert done.code == 1 and "TEST-2026-1" in done.out and "NOT COVERED  Debian:12" in done.out
    assert json.loads((tmp_path / "a.sarif").read_text())["runs"][0]["results"][0]["ruleId"] == "TEST-2026-1"


def test_an_ignored_finding_counts_again_once_the_decision_has_expired(reprise: Reprise, tmp_path: Path) -> None:
    osv, file = database(tmp_path), tmp_path / "ignore.toml"
    for until, code in (("9999-12-31", 0), ("2020-01-01", 1)):
        file.write_text(IGNORE.format(until=until))
        done = reprise("scan", "torch-cpu", "--database", osv, "--fail-on", "low", "--ignore", file, "--json")
        assert done.code == code
        (finding,) = json.loads(done.out)["findings"]
        assert (finding["ignored"] is not None) is (code == 0)


def test_a_scan_without_data_is_an_error(reprise: Reprise, tmp_path: Path) -> None:
    assert reprise("scan", "torch-cpu").code == 2
    done = reprise("scan", "torch-cpu", "--database", tmp_path / "none")
    assert done.code == 66 and "holds no advisories" in done.err


def test_an_image_that_is_not_there_is_named(reprise: Reprise, tmp_path: Path) -> None:
    digest = "sha256:" + "0" * 64
    assert reprise("scan", digest, "--database", database(tmp_path)).code == 66
    assert reprise("sbom", digest).code == 66


def test_ages_are_told_although_no_place_answers(reprise: Reprise, project: Path) -> None:
    file = project / "containers/images/torch-cpu.toml"
    text = file.read_text()
    file.write_text(text[: text.index("[sources]")])
    done = reprise("outdated", "torch-cpu", "--json")
    assert done.code == 0 and "no answer: Debian bookworm" in done.err
    document = json.loads(done.out)
    assert {"torch", "libc6"} <= {each["name"] for each in document["packages"]} and document["silent"]


def test_an_image_without_its_lock_is_signed_and_the_missing_bill_is_said(reprise: Reprise, tmp_path: Path) -> None:
    put_image(Store.open(tmp_path / "store"), "small")
    done = reprise("sign", "small", "--json")
    assert done.code == 0 and "no bill of materials was signed" in done.err
    assert "bill_of_materials" not in json.loads(done.out)
    assert reprise("verify", "small").code == 0
