"""pip-audit, the program, asked about a lock: against a stand-in of the OSV query service on the loopback interface.

pip-audit lets the OSV service's address be set; PyPI's it does not, so that one is tried only by its silence.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.vulnerabilities.conftest import CONDA, DEB, WHEEL, osv

from reprise.vulnerabilities.match import subject_of
from reprise.vulnerabilities.pip_audit import read_answer, scan_with_service
from reprise_trainer.errors import UnavailableError


@contextmanager
def osv_service(answers: dict[str, list[dict[str, Any]]], status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A service that answers queries by package name; gives its address and the queries that it got."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(query)
            vulnerabilities = answers.get(query["package"]["name"], [])
            body = json.dumps({"vulns": vulnerabilities} if vulnerabilities else {}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query", asked
        finally:
            server.shutdown()
            thread.join()


def test_findings_come_from_the_service_and_the_rest_is_not_covered() -> None:
    advisory = osv(
        "TEST-2026-1",
        {"ecosystem": "PyPI", "name": "small-thing"},
        [{"introduced": "0"}, {"fixed": "2.1"}],
        aliases=["CVE-2026-0001"],
        summary="reads beyond the end",
    )
    with osv_service({"small-thing": [advisory]}) as (url, asked):
        report = scan_with_service("small", (WHEEL, DEB, CONDA), "osv", osv_url=url)
    (one,) = report.findings
    assert (one.id, one.aliases, one.fixed) == ("CVE-2026-0001", ("TEST-2026-1",), ("2.1",))
    assert one.artifact == WHEEL and one.severity == "unknown"
    assert report.covered == (("PyPI", 1),) and report.uncovered == (("Debian:12", 1), ("conda", 1))
    assert [each["version"] for each in asked] == ["2.0.1"]  # services know no local builds


def test_a_clean_answer_is_a_scan_without_findings() -> None:
    with osv_service({}) as (url, _):
        report = scan_with_service("small", (WHEEL,), "osv", osv_url=url)
    assert report.findings == () and report.covered == (("PyPI", 1),)


def test_a_package_that_the_service_does_not_know_is_not_covered() -> None:
    other = replace(WHEEL, purl=WHEEL.purl.replace("small-thing", "known"))
    subjects = [subject for each in (WHEEL, other) if (subject := subject_of(each))]
    known = {"name": "known", "version": "2.0.1", "vulns": [{"id": "TEST-2026-1", "fix_versions": [], "aliases": []}]}
    skipped = {"name": "small-thing", "skip_reason": "not found on the index"}
    report = read_answer("small", "a service", subjects, {"dependencies": [known, skipped], "fixes": []})
    assert [each.artifact for each in report.findings] == [other]
    assert (report.covered, report.uncovered) == ((("PyPI", 1),), (("PyPI small-thing", 1),))
    with pytest.raises(UnavailableError, match="was not scanned"):
        read_answer("small", "a service", subjects[:1], {"dependencies": [skipped], "fixes": []})


@pytest.mark.parametrize("service", ["osv", "pypi"])
def test_a_silent_service_is_an_error_and_not_an_empty_report(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(UnavailableError, match="not"):
        scan_with_service("small", (WHEEL,), service, osv_url="http://127.0.0.1:9/" if service == "osv" else "")


def test_a_failing_service_is_an_error() -> None:
    with osv_service({}, status=500) as (url, _), pytest.raises(UnavailableError):
        scan_with_service("small", (WHEEL,), "osv", osv_url=url)
