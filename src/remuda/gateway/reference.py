"""The reference page of errors and outcomes, rendered from their declarations (docs/reference/errors.md)."""

from remuda.gateway.answers import Code
from remuda.policy.outcome import Outcome


def render_errors_page() -> str:
    """The page, as Markdown."""
    lines = [
        "# Errors and outcomes",
        "",
        "<!-- generated from src/remuda/gateway/answers.py and src/remuda/policy/outcome.py: do not edit -->",
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
