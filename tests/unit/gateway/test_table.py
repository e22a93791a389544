"""The table of a gateway, made from documents."""

import pytest

from remuda import spec
from remuda.gateway.table import table_from_spec
from remuda.machine.errors import SecretError

MODEL = """
apiVersion: remuda.dev/v1alpha1
kind: Model
metadata: {name: llm}
spec: {endpoints: [{url: "http://10.0.0.7:8000", apiKey: {env: ENGINE_KEY}}]}
"""


def test_the_key_of_an_endpoint_is_read_from_where_the_file_says(monkeypatch):
    monkeypatch.setenv("ENGINE_KEY", "open-sesame")
    (endpoint,) = table_from_spec(spec.load_text(MODEL)).models[0].endpoints
    assert (endpoint.host, endpoint.port, endpoint.api_key) == ("10.0.0.7", 8000, "open-sesame")


def test_a_key_of_an_endpoint_that_cannot_be_read_names_the_endpoint(monkeypatch):
    monkeypatch.delenv("ENGINE_KEY", raising=False)
    with pytest.raises(SecretError) as caught:
        table_from_spec(spec.load_text(MODEL))
    assert caught.value.message == "endpoint llm-0: apiKey: the environment variable ENGINE_KEY is not set"
    assert caught.value.hint == "export ENGINE_KEY=… and try again"


KEY = "[{name: k1, hash: 'sha256:" + "0" * 64 + "'}]"
TENANT = "{{apiVersion: remuda.dev/v1alpha1, kind: Tenant, metadata: {{name: acme}}, spec: {{keys: {keys}}}}}\n---\n"


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        pytest.param("", False, id="no tenant"),
        pytest.param(TENANT.format(keys="[]"), True, id="a tenant without keys"),
        pytest.param(TENANT.format(keys=KEY), True, id="a tenant with a key"),
    ],
)
def test_a_tenant_makes_the_gateway_ask_for_keys_although_it_may_have_none(monkeypatch, text, asks):
    monkeypatch.setenv("ENGINE_KEY", "open-sesame")
    table = table_from_spec(spec.load_text(text + MODEL))
    assert (table.keys_wanted, table.asks_for_keys) == (asks, asks)
