"""A start that cannot work: named with its cause, and not tried again."""

import pytest
from tests.engine.running import make_document

from remuda.engine.status import EngineState

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_kv_cache_too_small_for_one_request_is_named_and_not_retried(launch, small_model):
    running = launch(make_document("tight", small_model, maxModelLen=2048, kvCacheBlocks=8))
    await running.task
    assert running.status.state is EngineState.FAILED
    assert "KV cache cannot hold one request" in running.status.reason
    assert "maxModelLen" in running.status.reason
    assert running.status.restarts == 0
