import io
import sys

import pytest

from remuda.cli import progress
from remuda.fleet.reporting import events

READY = events.Ready(
    url="http://127.0.0.1:8080",
    models=("demo", "embed"),
    chat_model="demo",
    question="What is Remuda?",
    failed=("big-0: out of memory",),
)


def step(state: events.StepState, detail: str = "", fraction: float | None = None) -> events.Step:
    return events.Step(id="demo-0", title="demo-0", state=state, detail=detail, fraction=fraction)


RUNNING, DONE, WARNED = events.StepState.RUNNING, events.StepState.DONE, events.StepState.WARNED


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def watch(monkeypatch: pytest.MonkeyPatch, stream: Tty) -> Tty:
    """Make `stream` the terminal. This is no fixture, because pytest replaces the streams between setup and test."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    for name, value in {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}.items():
        monkeypatch.setenv(name, value)
    return stream


def show(*happened: events.AnyEvent) -> None:
    with progress.open_view() as view:
        for event in happened:
            view.show(event)


def test_plain_lines_print_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        step(RUNNING, "loading weights"),
        step(RUNNING, "loading weights"),
        step(RUNNING, "downloading", 0.1),
        step(RUNNING, "downloading", 0.2),
        step(DONE, "ready"),
    )
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" s] ")[2] for line in lines] == ["· demo-0: loading weights", "✓ demo-0: ready"]


def test_finished_steps_stay_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watch(monkeypatch, Tty())
    show(step(RUNNING, "loading weights"), step(DONE, "ready"), step(WARNED, "backoff: killed"))
    shown = terminal.getvalue()
    assert "loading weights" in shown
    assert "✓ demo-0  ready" in shown
    assert "! demo-0  backoff: killed" in shown
    assert shown.endswith("\n")


def test_answer_streams_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        events.Question(model="demo", text="Hi?"),
        events.AnswerText(text="Hel"),
        events.AnswerText(text="lo."),
        events.AnswerEnd(tokens=40, seconds=0.5),
    )
    assert capsys.readouterr().out == "\n> Hi?\nHello.\n(40 tokens in 0.5 s, 80 tokens/s)\n"


def test_a_missing_answer_shows_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    show(events.AnswerEnd(problem="the engine died"))
    assert capsys.readouterr().out == "\n(no answer: the engine died)\n"


def test_ready_shows_address_examples_and_models_that_failed() -> None:
    shown = progress.render_ready(READY, 12.4)
    assert "Ready in 12 s: demo, embed\nnot served: big-0: out of memory\n" in shown
    assert "Base URL: http://127.0.0.1:8080/v1 (no API key needed)\n" in shown
    assert "\ncurl http://127.0.0.1:8080/v1/chat/completions" in shown
    assert "\nfrom openai import OpenAI\n" in shown


def test_a_terminal_that_is_gone_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Tty):
        def write(self, _text: str) -> int:
            raise OSError(5, "Input/output error")

    watch(monkeypatch, Gone())
    show(step(RUNNING, "x"), step(DONE, "x"), READY, events.Stopping(reason="SIGHUP"), events.Stopped())
