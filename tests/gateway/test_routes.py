"""Which routes there are, which models they mean, and what is said about the rest."""

import json

import pytest
from msgspec.structs import replace
from tests.gateway.conftest import route_to
from tests.gateway.double_engine import DoubleEngine
from tests.gateway.wire import complete, get, post

from remuda.gateway.table import Table

FORWARDED = [
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages",
    "/v1/messages/count_tokens", "/tokenize", "/detokenize",
]  # fmt: skip
POOLING = {"/v1/embeddings": "embedding", "/v1/score": "score", "/v1/rerank": "rerank", "/classify": "classify"}


@pytest.mark.req("A1.forwarding", level="double")
@pytest.mark.parametrize("path", FORWARDED)
async def test_inference_route_is_forwarded(site, path):
    response = await site.ask(post(path, {"model": "m"}))
    assert response.status == 200
    assert site.engine.requests[0].line == f"POST {path} HTTP/1.1"


@pytest.mark.req("A1.pooling", level="double")
@pytest.mark.parametrize(("path", "capability"), POOLING.items())
async def test_pooling_route_needs_a_model_that_can(site, path, capability):
    refused = await site.ask(post(path, {"model": "m"}))
    assert (refused.status, refused.error["code"]) == (400, "unsupported_capability")
    assert "chat, completion" in refused.error["message"]
    route = replace(route_to(site.engines), capabilities=(capability,))
    site.gateway.apply(Table(models=(route,)))
    assert (await site.ask(post(path, {"model": "m"}))).status == 200


@pytest.mark.req("A4.health", level="double")
async def test_health_says_only_that_the_process_is_alive(site):
    await site.engine.stop()
    response = await site.ask(get("/health"))
    assert (response.status, response.json) == (200, {"status": "ok"})


@pytest.mark.req("A4.ready", "A4.waiting", level="double")
async def test_ready_names_the_models_that_wait_and_why(site):
    waiting = replace(route_to([], name="big", served_name="big"), waiting="starting: loading weights")
    site.gateway.apply(Table(models=(route_to(site.engines), waiting)))
    response = await site.ask(get("/ready"))
    assert response.status == 503
    assert response.json == {"status": "waiting", "ready": ["m"], "waiting": {"big": "starting: loading weights"}}
    assert (await site.ask(get("/ready/m"))).json == {"status": "ready", "model": "m"}
    one = await site.ask(get("/ready/big"))
    assert (one.status, one.error["code"], one.headers["retry-after"]) == (503, "model_not_ready", "5")
    assert "loading weights" in one.error["message"]
    assert (await site.ask(get("/ready/none"))).status == 404


async def test_model_without_an_engine_says_what_it_waits_for(site):
    route = replace(route_to([]), waiting="downloading: 40 %")
    site.gateway.apply(Table(models=(route,)))
    response = await site.ask(complete())
    assert (response.status, response.error["code"]) == (503, "model_not_ready")
    assert "downloading: 40 %" in response.error["message"]
    assert site.outcomes == {"no_endpoint": 1}


@pytest.mark.req("A4.unknown-model", level="double")
async def test_unknown_model_is_refused_with_those_there_are(site):
    response = await site.ask(complete(model="nope"))
    assert (response.status, response.error["code"], response.error["param"]) == (404, "model_not_found", "model")
    assert "Served here: m" in response.error["message"]
    assert 'model="unknown"' in (await site.ask(get("/metrics"))).body.decode()


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        pytest.param("GET", "/v1/completions", 405, "POST", id="wrong method"),
        pytest.param("POST", "/health", 405, "GET", id="page posted to"),
        pytest.param("DELETE", "/v1/models/m", 405, "GET", id="deleting a model"),
        pytest.param("POST", "/v1/chat/completion", 404, "/v1/chat/completions", id="nearly right"),
        pytest.param("GET", "/nothing/like/it", 404, "no GET", id="unknown"),
        pytest.param("GET", "/v1/responses/resp_1", 400, "not stored", id="stored response"),
    ],
)
async def test_other_routes_are_refused_with_what_there_is(site, method, path, status, said):
    response = await site.ask(get(path, method=method.encode()))
    assert response.status == status
    assert said in response.error["message"] + response.headers.get("allow", "")
    assert ("allow" in response.headers) is (status == 405)
    assert site.engine.requests == []


async def test_options_names_the_methods(site):
    response = await site.ask(get("/v1/completions", method=b"OPTIONS"))
    assert (response.status, response.headers["allow"]) == (204, "POST, OPTIONS")
    assert "access-control-allow-origin" not in response.headers


# ---- models


@pytest.mark.req("G1.by-name", "G1.adapters", level="double")
async def test_models_of_all_engines_are_one_list(site):
    first = route_to(site.engines, aliases=("gpt-4",), adapters=("pirate",), max_model_len=512)
    second = route_to([], name="embed", served_name="org/embed", capabilities=("embedding",))
    site.gateway.apply(Table(models=(first, second)))
    listed = (await site.ask(get("/v1/models"))).json
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["m", "gpt-4", "pirate", "org/embed"]
    assert listed["data"][0]["max_model_len"] == 512
    assert listed["data"][2]["parent"] == "m"
    for path in ("/v1/models/org/embed", "/v1/models/org%2Fembed"):
        assert (await site.ask(get(path))).json["id"] == "org/embed"
    assert (await site.ask(get("/v1/models/none"))).status == 404


@pytest.mark.req("G1.by-name", level="double")
async def test_alias_is_renamed_for_the_engine_and_nothing_else_changes(site):
    site.gateway.apply(Table(models=(route_to(site.engines, aliases=("gpt-4",)),)))
    body = b'{"prompt": "model \\"model\\": \\"gpt-4\\"", "x": {"model": "gpt-4"},\n "model" :  "gpt-4" , "n":1}'
    assert (await site.ask(post("/v1/completions", body))).status == 200
    assert site.engine.requests[0].body == body.replace(b':  "gpt-4" ,', b':  "m" ,')


@pytest.mark.req("G1.adapters", level="double")
async def test_adapter_goes_by_its_own_name_and_its_alias_by_the_adapters(site):
    route = route_to(site.engines, adapters=("pirate",), adapter_aliases={"captain": "pirate"})
    site.gateway.apply(Table(models=(route,)))
    for name in ("pirate", "captain"):
        await site.ask(complete(model=name))
    assert [request.json["model"] for request in site.engine.requests] == ["pirate", "pirate"]


async def test_engine_with_a_name_of_its_own_is_asked_by_it(site):
    route = route_to(site.engines)
    endpoint = replace(route.endpoints[0], upstream_model="/models/x", path_prefix="/team-a/", api_key="secret")
    site.gateway.apply(Table(models=(replace(route, endpoints=(endpoint,)),)))
    await site.ask(complete())
    request = site.engine.requests[0]
    assert request.line == "POST /team-a/v1/completions HTTP/1.1"
    assert request.headers["authorization"] == "Bearer secret"
    assert request.json["model"] == "/models/x"


@pytest.mark.parametrize("name", ['"m"', '"\\u006d"', '"\\u006D"'])
async def test_name_is_understood_however_it_is_spelt(site, name):
    assert (await site.ask(post("/v1/completions", f'{{"model":{name}}}'.encode()))).status == 200


async def test_alias_in_a_key_that_stands_there_twice_is_renamed_where_the_engine_reads_it(site):
    site.gateway.apply(Table(models=(route_to(site.engines, aliases=("gpt-4",)),)))
    body = b'{"model":"other","mode\\u006c":"gpt-4"}'
    assert (await site.ask(post("/v1/completions", body))).status == 200
    assert site.engine.requests[0].body == body.replace(b"gpt-4", b"m")
    assert site.engine.requests[0].json == {"model": "m"}
    refused = await site.ask(post("/v1/completions", b'{"model":"gpt-4","model":"other"}'))
    assert (refused.status, refused.error["code"]) == (404, "model_not_found")


@pytest.mark.req("G1.by-capability", "G1.by-max-tokens", level="double")
async def test_without_a_model_any_that_fits_is_taken(sites):
    async with sites(engines=2) as site:
        chat = route_to([site.engines[0]], name="chat", served_name="chat", capabilities=("chat",), max_tokens=100)
        code = route_to([site.engines[1]], name="code", served_name="code", capabilities=("code", "chat", "completion"))
        second = replace(code, endpoints=(replace(code.endpoints[0], id="code-0"),))
        site.gateway.apply(Table(models=(chat, second)))
        await site.ask(post("/v1/completions", {"prompt": "x"}))
        await site.ask(post("/v1/chat/completions", {"max_tokens": 1000}))
        await site.ask(post("/v1/chat/completions", {}, b"x-remuda-capability: code\r\n"))
        assert [len(engine.requests) for engine in site.engines] == [0, 3]
        assert "model" not in site.engines[1].requests[0].json


@pytest.mark.req("G1.no-fit", level="double")
async def test_without_a_model_and_none_that_fits_the_considered_are_named(site):
    site.gateway.apply(Table(models=(route_to(site.engines, max_tokens=10),)))
    response = await site.ask(post("/v1/chat/completions", {"max_tokens": 11}))
    assert (response.status, response.error["code"]) == (503, "no_fitting_model")
    assert "m (takes at most 10 tokens)" in response.error["message"]


async def test_engines_share_the_load(sites):
    async with sites(engines=3) as site:
        for _ in range(30):
            await site.ask(complete())
        assert [len(engine.requests) for engine in site.engines] == [10, 10, 10]


@pytest.mark.req("G2.others", level="double")
@pytest.mark.parametrize("routing", ["roundRobin", "leastRequest", "leastTime"])
async def test_every_way_of_routing_works(sites, routing):
    async with sites(engines=2) as site:
        site.gateway.apply(Table(models=(route_to(site.engines, routing=routing),)))
        for _ in range(6):
            assert (await site.ask(complete())).status == 200
        assert min(len(engine.requests) for engine in site.engines) >= 2


async def test_new_table_takes_effect_without_disturbing_a_connection(site):
    wire = await site.open()
    assert (await wire.ask(complete())).status == 200
    other = await DoubleEngine().start()
    try:
        route = route_to([other], name="n", served_name="n")
        site.gateway.apply(Table(models=(replace(route, endpoints=(replace(route.endpoints[0], id="n-0"),)),)))
        assert (await wire.ask(complete())).status == 404
        assert (await wire.ask(complete(model="n"))).status == 200
    finally:
        await other.stop()


# ---- audio

AUDIO = (
    b"--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n"
    b"content-type: audio/wav\r\n\r\n\x00\x01--Bx\r\n"
    b"--B\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n%b\r\n--B--\r\n"
)  # fmt: skip


@pytest.mark.req("A1.audio", level="double")
@pytest.mark.parametrize(("name", "expected"), [(b"m", b"m"), (b"whisper-1", b"m")])
async def test_audio_goes_by_the_model_of_its_form(site, name, expected):
    route = route_to(site.engines, capabilities=("transcription",), aliases=("whisper-1",))
    site.gateway.apply(Table(models=(route,)))
    request = post("/v1/audio/transcriptions", AUDIO % name).replace(
        b"application/json", b'multipart/form-data; boundary="B"'
    )
    assert (await site.ask(request)).status == 200
    assert site.engine.requests[0].body == AUDIO % expected


async def test_audio_that_is_no_form_is_refused(site):
    site.gateway.apply(Table(models=(route_to(site.engines, capabilities=("transcription",)),)))
    assert (await site.ask(post("/v1/audio/transcriptions", b"{}"))).status == 415


# ---- bodies


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b"", "invalid_json", id="empty"),
        pytest.param(b"{", "invalid_json", id="cut"),
        pytest.param(b"[1]", "invalid_json", id="list"),
        pytest.param(b'"x"', "invalid_json", id="text"),
        pytest.param(b'{"model":"m"} x', "invalid_json", id="more behind it"),
        pytest.param(b'{"model":"m","x":NaN}', "invalid_json", id="NaN"),
        pytest.param(b'{"model":"m","x":Infinity}', "invalid_json", id="Infinity"),
        pytest.param(b'{"model":"m","x":"\xff"}', "invalid_json", id="not UTF-8"),
        pytest.param(b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json", id="too deep"),
        pytest.param(b'{"model":1}', "invalid_value", id="model is a number"),
        pytest.param(b'{"model":["m"]}', "invalid_value", id="model is a list"),
    ],
)
async def test_body_that_is_no_request_is_refused(site, body, code):
    wire = await site.open()
    response = await wire.ask(post("/v1/completions", body))
    assert (response.status, response.error["code"], response.error["hop"]) == (400, code, "client")
    assert (await wire.ask(complete())).status == 200


async def test_other_content_type_is_refused(site):
    response = await site.ask(complete().replace(b"application/json", b"text/plain"))
    assert (response.status, response.error["code"]) == (415, "unsupported_media_type")


def picture(url: str) -> dict:
    return {"messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@pytest.mark.req("A1.client-fields", level="double")
@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"priority": -5}, 400, id="priority"),
        pytest.param({"priority": 0}, 200, id="no priority"),
        pytest.param({"cache_salt": "x"}, 400, id="cache salt"),
        pytest.param({"n": 2}, 200, id="n"),
        pytest.param({"n": 1000}, 400, id="n too large"),
        pytest.param({"chat_template": "{{ x }}"}, 400, id="template"),
        pytest.param(picture("http://169.254.169.254/"), 400, id="image address"),
        pytest.param(picture("data:image/png;base64,AA=="), 200, id="inline image"),
    ],
)  # fmt: skip
async def test_fields_with_power_over_others_are_refused(site, fields, status):
    response = await site.ask(post("/v1/chat/completions", {"model": "m", **fields}))
    assert response.status == status
    assert len(site.engine.requests) == (status == 200)


async def test_media_address_spelt_with_escapes_is_refused(site):
    body = b'{"model":"m","messages":[{"content":[{"image\\u005furl":{"url":"http://10.0.0.1/"}}]}]}'
    assert (await site.ask(post("/v1/chat/completions", body))).status == 400


@pytest.mark.req("G3.operator-fields", level="double")
async def test_operator_may_allow_and_deny_fields(sites):
    async with sites(client_fields={"allow": ("priority",), "deny": ("logit_bias",)}) as site:
        assert (await site.ask(complete(priority=-5))).status == 200
        refused = await site.ask(complete(logit_bias={}))
        assert (refused.status, refused.error["param"]) == (400, "logit_bias")


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
async def test_stateful_responses_are_refused_with_the_reason(site, field):
    response = await site.ask(post("/v1/responses", {"model": "m", "input": "x", field: "resp_1"}))
    assert (response.status, response.error["code"], response.error["param"]) == (400, "stateful_not_supported", field)


async def test_errors_name_hop_and_request_id(site):
    response = await site.ask(complete(model="nope", headers=b"x-request-id: my-id\r\n"))
    assert response.error["hop"] == "client"
    assert response.error["request_id"] == response.headers["x-request-id"] == "my-id"
    assert response.headers["x-remuda-hop"] == "client"
    assert json.loads(response.body)
