"""Who is let in as tables come and go."""

import pytest

from remuda.gateway.access.keys import hash_key
from remuda.gateway.app import Gateway
from remuda.gateway.errors import GatewayError
from remuda.gateway.options import Listen
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import KeyRecord, ModelRoute, Table

WITH_KEY = Table(keys=(KeyRecord(hash=hash_key("rk_acme-k1_x"), tenant="acme"),))
WITHOUT = Table(models=(ModelRoute("demo", "demo"),))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_revoking_the_last_key_shuts_everybody_out_and_opens_nothing(host):
    gateway = Gateway(GatewaySettings(listen=Listen(host=host)))
    gateway.apply(WITH_KEY)
    gateway.apply(WITHOUT)
    assert gateway.identifier.keys_wanted
    assert len(gateway.identifier.ring) == 0
    assert [model.route.name for model in gateway.directory.models] == ["demo"]


def test_a_gateway_of_this_machine_is_open_until_there_is_a_key():
    gateway = Gateway(GatewaySettings(listen=Listen(host="127.0.0.1")))
    gateway.apply(WITHOUT)
    assert not gateway.identifier.keys_wanted
    gateway.apply(WITH_KEY)
    assert gateway.identifier.keys_wanted


def test_a_gateway_of_a_network_does_not_begin_without_keys():
    with pytest.raises(GatewayError, match="refusing to listen"):
        Gateway(GatewaySettings(listen=Listen(host="0.0.0.0"))).apply(WITHOUT)
