"""The table of requests covers the table of routes, so that a new route fails here until real vLLM is asked for it."""

from tests.engine.route_requests import REQUESTS

from remuda.vllm.routes import MODELS, ROUTES

FORWARDED = {(method, path): route for (method, path), route in ROUTES.items() if route is not MODELS}


def test_every_route_that_is_forwarded_has_a_request():
    assert {("POST", request.path) for request in REQUESTS if not request.last_event} == FORWARDED.keys()


def test_every_route_that_can_stream_has_a_request_for_a_stream():
    streaming = {key for key, route in FORWARDED.items() if route.streams}
    assert {("POST", request.path) for request in REQUESTS if request.last_event} == streaming


def test_a_request_is_a_form_where_the_route_takes_forms():
    forms = {key for key, route in FORWARDED.items() if route.kind == "multipart"}
    assert {("POST", request.path) for request in REQUESTS if request.form} == forms
