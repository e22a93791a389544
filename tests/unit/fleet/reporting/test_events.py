import pytest

from remuda.fleet.reporting import events

EVENTS = [
    events.Step(id="demo-0", title="demo-0", state=events.StepState.RUNNING, detail="loading", fraction=0.5),
    events.Note(text="block size 16 becomes 32"),
    events.Question(model="demo", text="Héllo?"),
    events.AnswerText(text="line\nbreak"),
    events.AnswerEnd(tokens=3, seconds=0.5),
    events.Ready(url="http://127.0.0.1:8080", models=("demo",), failed=("other-0: no",)),
    events.Stopping(reason="Ctrl-C"),
    events.Stopped(),
    events.Failed(message="no", hint="yes"),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_one_line_and_is_read_back(event: events.AnyEvent) -> None:
    line = events.render_line(event)
    assert line.count(b"\n") == 1
    assert events.parse_line(line) == event
