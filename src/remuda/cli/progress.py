"""Shows the events of a fleet: a live view on a terminal, otherwise plain lines with the elapsed time.

Progress goes to standard error. The first answer and the address go to standard output. If the terminal goes away, the
view falls silent and the fleet continues.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from remuda.cli import output
from remuda.fleet.reporting import events, views

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

PLAIN_GAP_S = 5.0  # without a terminal, a step whose percentage grows is printed this often
REFRESH_PER_S = 8
_MARKS = {
    events.StepState.DONE: ("✓", "+", "green"),
    events.StepState.WARNED: ("!", "!", "yellow"),
    events.StepState.FAILED: ("✗", "x", "red"),
    events.StepState.RUNNING: ("·", ".", "dim"),
}


@dataclass(slots=True)
class Line:
    """One step and when it was printed last."""

    step: events.Step
    began_at: float = field(default_factory=time.monotonic)
    told_s: float = float("-inf")
    told: str = ""

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began_at


class View:
    """Shows events in the order in which they arrive."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._live = LiveSteps() if output.is_terminal(sys.stderr) else PlainSteps()

    def show(self, event: events.AnyEvent) -> None:
        """Show one event."""
        with contextlib.suppress(OSError):  # the terminal is gone, but the fleet must continue
            self._draw(event)

    def close(self) -> None:
        """Restore the terminal."""
        with contextlib.suppress(OSError):
            self._live.close()

    def _draw(self, event: events.AnyEvent) -> None:
        match event:
            case events.Step():
                self._live.update(event)
            case events.Note():
                self._live.print_line(f"{_mark(events.StepState.RUNNING)} {event.text}")
            case events.Question():
                self._live.close()
                _print(f"\n{output.paint('>', 'cyan')} {output.paint(event.text, 'bold')}")
            case events.AnswerText():
                _print(event.text, end="")
            case events.AnswerEnd():
                _print(_describe_answer(event))
            case events.Ready():
                self._live.close()
                _print(render_ready(event, time.monotonic() - self._began_at))
            case events.Stopping():
                self._live.print_line(f"\nstopping ({event.reason}): running requests finish first; Ctrl-C aborts them")
            case events.Stopped():
                self._live.close()
                _note("stopped: all processes have ended")
            case events.Failed():
                self._live.close()


class PlainSteps:
    """Prints a line for each change of a step, with the seconds since the start."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._lines: dict[str, Line] = {}

    def update(self, step: events.Step) -> None:
        """Print a step when its text or state changed, and a growing percentage only now and then."""
        line = self._lines.setdefault(step.id, Line(step))
        changed = line.step.state is not step.state
        line.step = step
        text = f"{step.title}: {step.detail}"
        if text == line.told:
            return
        if changed or time.monotonic() - line.told_s >= (PLAIN_GAP_S if step.fraction is not None else 0):
            line.told, line.told_s = text, time.monotonic()
            share = f" ({step.fraction:.0%})" if step.fraction is not None else ""
            self.print_line(f"{_mark(step.state)} {text}{share}")

    def print_line(self, text: str) -> None:
        """Print one line on standard error."""
        _note(f"[{time.monotonic() - self._began_at:6.1f} s] {text.lstrip()}")

    def close(self) -> None:
        """Do nothing: plain lines leave no state in the terminal."""


class LiveSteps:
    """Redraws running steps at the bottom of the terminal. Finished steps stay above them as plain lines."""

    def __init__(self) -> None:
        self._running: dict[str, Line] = {}
        self._live: Live | None = None
        self._spinner: RenderableType = ""

    def update(self, step: events.Step) -> None:
        """Redraw a running step, or print a finished one as a line that stays."""
        line = self._running.get(step.id)
        if step.state is events.StepState.RUNNING:
            if line is None:
                self._running[step.id] = Line(step)
            else:
                line.step = step
            self._open().refresh()
            return
        self._running.pop(step.id, None)
        took = f"  {output.format_seconds(line.elapsed_s)}" if line and line.elapsed_s >= 0.1 else ""
        self.print_line(_settled(step, took))
        if not self._running:
            self.close()

    def print_line(self, text: str) -> None:
        """Print a line that stays, above the running steps."""
        if self._live is None:
            _note(text)
        else:
            from rich.text import Text

            self._live.console.print(Text.from_ansi(text))

    def close(self) -> None:
        """Remove the running steps from the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _open(self) -> "Live":
        if self._live is None:
            from rich.console import Console
            from rich.live import Live
            from rich.spinner import Spinner

            self._spinner = Spinner("dots", style="cyan")
            console = Console(stderr=True, highlight=False, emoji=False, markup=False)
            self._live = Live(
                get_renderable=self._render,
                console=console,
                refresh_per_second=REFRESH_PER_S,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self._live

    def _render(self) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        for line in list(self._running.values()):
            fraction = line.step.fraction
            bar = ProgressBar(total=1.0, completed=fraction, width=24) if fraction is not None else ""
            share = f"{fraction:.0%}" if fraction is not None else ""
            elapsed = output.format_seconds(line.elapsed_s)
            table.add_row(self._spinner, line.step.title, line.step.detail, bar, share, elapsed)
        return table


def _settled(step: events.Step, took: str) -> str:
    return f"{_mark(step.state)} {step.title}  {step.detail}{output.paint(took, 'dim', sys.stderr)}"


def _mark(state: events.StepState) -> str:
    fancy, plain, style = _MARKS[state]
    unicode = (sys.stderr.encoding or "").lower().replace("-", "") == "utf8"
    return output.paint(fancy if unicode else plain, style, sys.stderr)


def _describe_answer(end: events.AnswerEnd) -> str:
    if end.problem:
        return f"\n(no answer: {end.problem})"
    speed = f", {end.tokens / end.seconds:.0f} tokens/s" if end.seconds > 0 and end.tokens else ""
    return "\n" + output.paint(f"({end.tokens} tokens in {output.format_seconds(end.seconds)}{speed})", "dim")


def render_ready(ready: events.Ready, seconds: float) -> str:
    """The served models, their address, and examples of requests."""
    key = "API key needed" if ready.needs_key else "no API key needed"
    lines = [
        "",
        f"{output.paint('Ready', 'green')} in {output.format_seconds(seconds)}: {', '.join(ready.models)}",
        *(f"{output.paint('not served:', 'red')} {failure}" for failure in ready.failed),
        f"Base URL: {output.paint(ready.url + '/v1', 'bold')} ({key})",
        "",
    ]
    if ready.chat_model or ready.completion_model:
        lines += [views.render_curl(ready), "", views.render_python(ready), ""]
    else:
        lines += [views.render_models(ready.url, needs_key=ready.needs_key), ""]
    return "\n".join(lines)


def _print(text: str, end: str = "\n") -> None:
    print(text, end=end, flush=True)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def open_view() -> Iterator[View]:
    """A view that restores the terminal on every exit."""
    view = View()
    try:
        yield view
    finally:
        view.close()
