"""The two snippets that `up` prints: they work when pasted. Pure; a test runs both."""

import json
import shlex

from remuda.fleet.events import Ready

KEY_VARIABLE = "REMUDA_API_KEY"


def render_curl(ready: Ready) -> str:
    """One request with curl."""
    body: dict[str, object]
    if ready.chat_model:
        path = "/v1/chat/completions"
        body = {"model": ready.chat_model, "messages": [{"role": "user", "content": ready.question}]}
    else:
        path = "/v1/completions"
        body = {"model": ready.completion_model, "prompt": ready.question, "max_tokens": 60}
    lines = [f"curl {ready.url}{path}", "  -H 'Content-Type: application/json'"]
    if ready.needs_key:
        lines.append(f'  -H "Authorization: Bearer ${KEY_VARIABLE}"')
    lines.append(f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}")
    return " \\\n".join(lines)


def render_python(ready: Ready) -> str:
    """The same with the official `openai` package."""
    key = f'os.environ["{KEY_VARIABLE}"]' if ready.needs_key else '"not-needed"'
    if ready.chat_model:
        call = (
            f"answer = client.chat.completions.create(\n"
            f"    model={json.dumps(ready.chat_model)},\n"
            f'    messages=[{{"role": "user", "content": {json.dumps(ready.question)}}}],\n'
            f")\nprint(answer.choices[0].message.content)"
        )
    else:
        call = (
            f"answer = client.completions.create(model={json.dumps(ready.completion_model)}, "
            f"prompt={json.dumps(ready.question)}, max_tokens=60)\nprint(answer.choices[0].text)"
        )
    head = "import os\n" if ready.needs_key else ""
    return f'{head}from openai import OpenAI\n\nclient = OpenAI(base_url="{ready.url}/v1", api_key={key})\n{call}'


def render_models(url: str, *, needs_key: bool) -> str:
    """What to ask when no model takes text (embeddings, scores): the list of models."""
    header = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if needs_key else ""
    return f"curl {url}/v1/models{header}"
