import ast
import json
import shlex

import pytest

from remuda.fleet import snippets
from remuda.fleet.events import Ready

CHAT = Ready(url="http://127.0.0.1:8080", models=("demo",), chat_model="demo", question='Say "hi", it\'s me')
TEXT = Ready(url="http://127.0.0.1:8080", models=("base",), completion_model="base", question="Once", needs_key=True)


def body_of(curl: str) -> dict[str, object]:
    words = shlex.split(curl.replace("\\\n", " "))
    found: dict[str, object] = json.loads(words[words.index("-d") + 1])
    return found


@pytest.mark.parametrize("ready", [CHAT, TEXT], ids=["chat", "completion"])
def test_python_snippet_is_python(ready: Ready) -> None:
    ast.parse(snippets.render_python(ready))


def test_curl_survives_the_shell() -> None:
    assert body_of(snippets.render_curl(CHAT)) == {
        "model": "demo",
        "messages": [{"role": "user", "content": 'Say "hi", it\'s me'}],
    }


def test_key_is_taken_from_the_environment() -> None:
    assert '"Authorization: Bearer $REMUDA_API_KEY"' in snippets.render_curl(TEXT)
    assert 'os.environ["REMUDA_API_KEY"]' in snippets.render_python(TEXT)
    assert snippets.render_models("http://x", needs_key=True) == (
        'curl http://x/v1/models -H "Authorization: Bearer $REMUDA_API_KEY"'
    )
