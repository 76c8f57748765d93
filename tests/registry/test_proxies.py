"""A proxy that the environment names carries requests to other machines; none to this one."""

from __future__ import annotations

from typing import Any

import pytest
from oci_registry import OciRegistry, serve_registry

from reprise.registry.push import push
from reprise.registry.reference import parse_reference

from .conftest import log_in


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_registry_on_this_machine_is_asked_without_a_proxy(
    image: Any, registry: OciRegistry, no_logins: Any, monkeypatch: pytest.MonkeyPatch, name: str, variable: str
) -> None:
    """Over plain http a proxy elsewhere would see the password; docker and podman send it nothing either."""
    for other in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(other, raising=False)
    registry.host = registry.host.replace("127.0.0.1", name)
    registry.password = "secret"
    log_in(no_logins, registry.host)
    with serve_registry(OciRegistry()) as proxy:
        monkeypatch.setenv(variable, f"http://{proxy.host}")
        push(image.store, image.digest, parse_reference(f"{registry.host}/team/small:1"))
        assert proxy.asked == [] and registry.manifests
