"""The allow-list of routes."""

import pytest

from remuda.vllm.routes import METHODS_BY_PATH, ROUTES, find_refused_route

ADMIN = [
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/collective_rpc",
    "/start_profile",
    "/stop_profile",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
    "/pause",
    "/resume",
    "/abort_requests",
    "/update_weights",
    "/init_weight_transfer_engine",
    "/server_info",
    "/release_kv_cache_memory",
    "/inference/v1/generate",
    "/inference/v1/abort_requests",
    "/invocations",
    "/ping",
    "/load",
    "/metrics",
    "/health",
    "/version",
    "/kv_event_sources",
    "/docs",
    "/openapi.json",
    "/v1/chat/completions/render",
    "/v1/systemone",
    "/generative_scoring",
]


@pytest.mark.req("A1.allow-list", level="unit")
@pytest.mark.parametrize("path", ADMIN)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"])
def test_routes_of_the_engine_that_are_not_inference_are_never_forwarded(method, path):
    assert ROUTES.get((method, path)) is None


FORWARDED = {
    "chat": ("POST", "/v1/chat/completions", "json", "chat", True, "body"),
    "completions": ("POST", "/v1/completions", "json", "completion", True, "body"),
    "responses": ("POST", "/v1/responses", "json", "chat", True, "body"),
    "messages": ("POST", "/v1/messages", "json", "chat", True, "body"),
    "count_tokens": ("POST", "/v1/messages/count_tokens", "json", "chat", False, "body"),
    "embeddings": ("POST", "/v1/embeddings", "json", "embedding", False, "body"),
    "tokenize": ("POST", "/tokenize", "json", "any", False, "body"),
    "rerank": ("POST", "/v2/rerank", "json", "rerank", False, "body"),
    "score": ("POST", "/v1/score", "json", "score", False, "body"),
    "classify": ("POST", "/classify", "json", "classify", False, "body"),
    "transcriptions": ("POST", "/v1/audio/transcriptions", "multipart", "transcription", True, "form"),
    "models": ("GET", "/v1/models", "none", "any", False, "none"),
}


@pytest.mark.parametrize("name", FORWARDED)
def test_an_inference_route_says_where_its_model_is_and_whether_it_streams(name):
    method, path, *wanted = FORWARDED[name]
    route = ROUTES.get((method, path))
    assert route is not None
    assert [route.name, route.kind, route.capability, route.streams, route.model_in] == [name, *wanted]


@pytest.mark.parametrize("path", ["/v1/models/", "/v1//models", "/V1/models", "/v1/models/../completions", ""])
def test_only_the_exact_path_is_taken(path):
    assert ROUTES.get(("GET", path)) is None


def test_a_wrong_method_can_be_told_from_an_unknown_path():
    assert METHODS_BY_PATH["/v1/models"] == ("GET",)
    assert ROUTES.get(("GET", "/v1/completions")) is None
    assert "/nope" not in METHODS_BY_PATH
    assert len(ROUTES) == sum(map(len, METHODS_BY_PATH.values()))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ],
)
def test_stored_responses_are_refused_with_the_reason(method, path):
    refused = find_refused_route(method, path)
    assert refused is not None
    assert "not stored" in refused.reason
    assert ROUTES.get((method, path)) is None


@pytest.mark.parametrize("path", ["/v1/response", "/v1/responses", "/v1/responses/a/b/c", "/"])
def test_other_unknown_paths_are_merely_unknown(path):
    assert find_refused_route("GET", path) is None
