"""Every curl that the documents show works as it is written."""

import re
import subprocess
from pathlib import Path

import pytest
from tests.product.driving import ROOT

HERE = "http://127.0.0.1:8080"


def find_curls() -> list[tuple[str, str]]:
    """(document, command) of every curl to the default address in a shell block."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", path.read_text(), re.DOTALL):
            joined = re.sub(r"\\\n\s*", " ", block)
            commands = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
            found += [(path.name, line) for line in commands if line.startswith("curl ") and HERE in line]
    return found


CURLS = find_curls()


def test_the_documents_show_some() -> None:
    assert len(CURLS) >= 5


@pytest.mark.req("A1")
@pytest.mark.parametrize(("document", "command"), CURLS, ids=[f"{path}-{n}" for n, (path, _) in enumerate(CURLS)])
def test_documented_curl_works(document: str, command: str, url: str, tmp_path: Path) -> None:
    real = command.replace(HERE, url).replace("curl ", "curl --fail-with-body --silent --show-error ", 1)
    done = subprocess.run(["bash", "-c", real], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{document}: {command}\n{done.stdout}{done.stderr}"
    assert done.stdout
