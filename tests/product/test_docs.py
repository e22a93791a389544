"""A page that shows a command is tested: every command, snippet and file in the pages a user reads is run."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.product.driving import ROOT, Machine

from remuda import spec

PAGES = ("README.md", "docs/quickstart.md", "benchmarks/README.md")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN_ELSEWHERE = ("up", "down")
"""`remuda up` and `down` are what test_lifecycle.py is about; here the words must be right."""


def blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in FENCE.finditer((ROOT / page).read_text()):
            if found[1] == language:
                yield page, found[2]


def commands() -> list[pytest.param]:
    """Every command of every `sh` block, once; continued lines joined, comments dropped."""
    seen = {}
    for page, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                seen.setdefault(tuple(words), f"{page}: {shlex.join(words)[:60]}")
    return [pytest.param(words, id=name) for words, name in seen.items()]


def snippets(language: str) -> list[pytest.param]:
    return [pytest.param(text, id=f"{page}-{i}") for i, (page, text) in enumerate(blocks(language))]


def run(words: list[str], machine: Machine) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**machine.env, "PATH": path}
    return subprocess.run(words, cwd=ROOT, env=env, text=True, capture_output=True, timeout=60, check=False)


@pytest.mark.req("A1.snippets", level="run", on="vLLM")
@pytest.mark.parametrize("words", [p for p in commands() if p.values[0][0] == "curl"])
def test_each_documented_curl_answers(words, busy_machine, url):
    words = [word.replace("http://127.0.0.1:8080", url) for word in words]
    done = run([*words, "-sS", "--fail-with-body"], busy_machine)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout


@pytest.mark.parametrize("words", [p for p in commands() if p.values[0][0] == "remuda"])
def test_each_documented_remuda_command_works(words, busy_machine, machine):
    # Keys made on the serving machine would close it to the other tests.
    where = machine if words[1] == "tenant" else busy_machine
    if words[:3] == ("remuda", "tenant", "list"):
        run(["remuda", "tenant", "create", "someone"], where)
    done = run([words[0], words[1], "--help"] if words[1] in RUN_ELSEWHERE else list(words), where)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [p for p in commands() if p.values[0][0] == "make"])
def test_each_documented_make_target_exists(words):
    done = subprocess.run([*words, "-n"], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_documented_command_is_left_out():
    known = {"curl", "remuda", "make"}
    assert [p.id for p in commands() if p.values[0][0] not in known] == []


@pytest.mark.req("A1.snippets", level="run", on="vLLM")
@pytest.mark.parametrize("text", snippets("python"))
def test_each_documented_python_snippet_runs(text, busy_machine, url):
    done = run([sys.executable, "-c", text.replace("http://127.0.0.1:8080", url)], busy_machine)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("text", snippets("yaml"))
def test_each_documented_file_loads(text):
    assert spec.load_text(text)


def test_every_link_between_the_pages_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    links = [(page, target) for page in pages for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    broken = [(page.name, link) for page, link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []
