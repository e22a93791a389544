"""Renders reference pages from declarations: errors and outcomes, the fields of /generate, and the fields that clients
may not set (errors.md, generate.md and client-fields.md in docs/reference). Does not write files.
"""

import json

import msgspec

from remuda.gateway.api.generate_request import BATCH_BYTES, BODY_BYTES, MOST_BATCH_ENTRIES, RULES, Generate
from remuda.gateway.api.problems import Code
from remuda.policy.outcome import Outcome
from remuda.vllm import client_fields


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


def render_client_fields_page() -> str:
    """The page, as Markdown."""
    denied = client_fields.DENIED_FIELDS.values()
    lines = [
        "# What clients may not set",
        "",
        "<!-- generated from src/remuda/vllm/client_fields.py: do not edit -->",
        "",
        "vLLM accepts more in a request than the OpenAI API documents. The gateway refuses what would give a client",
        "power over other clients or the operator, with status 400 and the name in `param`. The rules hold for JSON",
        "bodies, for the fields of forms, and for `/generate` and `/batch-generate`. A value that changes nothing",
        "passes, for example `null`, `priority: 0` and `store: false`.",
        "",
        "An operator allows fields, or refuses more of them, in the `ModelGateway`. `deny` wins over `allow`:",
        "",
        "```yaml",
        "apiVersion: remuda.dev/v1alpha1",
        "kind: ModelGateway",
        "metadata:",
        "  name: gateway",
        "spec:",
        "  clientFields:",
        "    allow: [chat_template, sequences]",
        "    deny: [logit_bias]",
        "```",
        "",
        "## Fields",
        "",
        "| field | routes | why |",
        "|---|---|---|",
        *(f"| `{rule.field}` | {_list_routes(rule.routes)} | {rule.reason} |" for rule in denied),
        "",
        "## Bounds",
        "",
        'A bound holds for every spelling that vLLM reads as the number: `16000`, `16000.0`, `1.6e4`, `"16_000"`.',
        "",
        "| field | largest value |",
        "|---|---|",
        *(f"| `{field}` | {most} |" for field, most in client_fields.BOUNDED_FIELDS.items()),
        f"| prompts × `n` (allowed as `{client_fields.SEQUENCES}`) | {client_fields.SEQUENCES_MAX} |",
        "",
        "## Parts of messages",
        "",
        "| part | allowed as | why |",
        "|---|---|---|",
        f"| an address that is not `data:` | `{client_fields.MEDIA_URLS}` | {client_fields.URL_REASON} |",
        f"| `uuid` of a media part | `{client_fields.UUID_KEY}` | {client_fields.UUID_REASON} |",
        *(f"| `{name}` | `{name}` | {client_fields.EMBEDS_REASON} |" for name in sorted(client_fields.EMBEDS)),
    ]
    return "\n".join(lines) + "\n"


def _list_routes(routes: frozenset[str] | None) -> str:
    return "all" if routes is None else ", ".join(sorted(routes))


def _render_default(default: object) -> str:
    if default is msgspec.NODEFAULT:
        return "(required)"
    return "–" if default is None else f"`{json.dumps(default)}`"
