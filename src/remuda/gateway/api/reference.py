"""Reference pages rendered from declarations: errors and outcomes (docs/reference/errors.md), and the fields of
/generate (docs/reference/generate.md).
"""

import json

import msgspec

from remuda.gateway.api.generate_request import BATCH_BYTES, BODY_BYTES, MOST_BATCH_ENTRIES, RULES, Generate
from remuda.gateway.api.problems import Code
from remuda.policy.outcome import Outcome


def render_errors_page() -> str:
    """The page, as Markdown."""
    lines = [
        "# Errors and outcomes",
        "",
        "<!-- generated from src/remuda/gateway/api/problems.py and src/remuda/policy/outcome.py: do not edit -->",
        "",
        "When the gateway answers by itself, the body is OpenAI's error object with two more fields: `hop` says who",
        "failed (`client`, `gateway` or `engine`), `request_id` is what the log calls the request.",
        "",
        "```json",
        '{"error": {"message": "…", "type": "invalid_request_error", "param": "model", "code": "model_not_found",',
        '           "hop": "client", "request_id": "…"}}',
        "```",
        "",
        "On `/v1/messages` it is Anthropic's, with the same `code`, `hop` and `request_id`. An error that",
        "comes from an engine as the client's own mistake (4xx) is relayed as the engine wrote it.",
        "",
        "## Codes",
        "",
        "`code` is stable: compare it, not the message.",
        "",
        "| code | status | type | hop | when |",
        "|---|---|---|---|---|",
        *(f"| `{code}` | {code.status} | `{code.kind}` | {code.hop} | {code.sentence} |" for code in Code),
        "",
        "## Outcomes",
        "",
        "Every request ends in exactly one: the label `outcome` of `remuda_requests_total`, the field `outcome` of the",
        "access log. Only those marked count against the health of an engine.",
        "",
        "| outcome | status | engine's fault | meaning |",
        "|---|---|---|---|",
        *(f"| `{o}` | {o.status or '–'} | {'yes' if o.engine_fault else ''} | {o.sentence} |" for o in Outcome),
    ]
    return "\n".join(lines) + "\n"


def render_generate_page() -> str:
    """The page, as Markdown."""
    fields = msgspec.structs.fields(Generate)
    rows = [f"| `{field.name}` | {RULES[field.name]} | {_render_default(field.default)} |" for field in fields]
    lines = [
        "# /generate and /batch-generate",
        "",
        "<!-- generated from src/remuda/gateway/api/generate_request.py: do not edit -->",
        "",
        "A prompt in, a text out, for scripts that need no client library. Served by any model that completes text.",
        "",
        "```console",
        "$ curl http://127.0.0.1:8080/generate -H 'content-type: application/json' -d '{\"prompt\": \"Hello\"}'",
        '{"generated_text":" there.","num_tokens":3,"finish_reason":"stop","prompt_tokens":1,"model":"remuda-demo"}',
        "```",
        "",
        "| field | takes | default |",
        "|---|---|---|",
        *rows,
        "",
        'Other fields are refused. With `stream`, the answer is server-sent events: `data: {"text": …}` as the text',
        "comes, one with `num_tokens` and `finish_reason`, then `data: [DONE]`.",
        "",
        f'`POST /batch-generate` takes `{{"requests": […]}}` or a bare list of at most {MOST_BATCH_ENTRIES} such',
        'objects without `stream`, and answers `{"results": […]}` in the same order. An entry that fails has',
        '`{"error": …}` in its place and leaves the others alone.',
        "",
        f"A request has at most {BODY_BYTES >> 20} MiB, which is a prompt of some 250,000 tokens, and a batch at most",
        f"{BATCH_BYTES >> 20} MiB. Longer prompts go to `/v1/completions`, where the gateway does not decode them.",
    ]
    return "\n".join(lines) + "\n"


def _render_default(default: object) -> str:
    if default is msgspec.NODEFAULT:
        return "(required)"
    return "–" if default is None else f"`{json.dumps(default)}`"
