"""`remuda status` prints the state of the gateway and of every engine of the running fleet."""

import sys
import time
from typing import TYPE_CHECKING

import click

from remuda.cli import output

if TYPE_CHECKING:
    from remuda.fleet.reporting.snapshot import EngineSnapshot, FleetSnapshot

HEADERS = ("ENGINE", "STATE", "SINCE", "LOAD", "KV CACHE", "CONTEXT", "ADDRESS", "PID", "RESTARTS")
_STYLES = {"ready": "green", "failed": "red", "crash-loop": "red", "backoff": "yellow", "listening": "green"}
_STATE_COLUMN = 1


@click.command(short_help="Show the state of the gateway and of each engine.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema remuda.dev/fleet-status/v1).")
def command(as_json: bool) -> None:
    """Show the state of the gateway and of each engine, with the reason when an engine is not ready."""
    import msgspec

    from remuda.fleet import control
    from remuda.machine.home import Home

    snapshot = control.ask_status(Home.from_environment().state)
    if as_json:
        output.print_json(msgspec.to_builtins(snapshot))
        return
    click.echo(render_status(snapshot, time.time(), output.terminal_width(sys.stdout)))


def render_status(snapshot: "FleetSnapshot", now_at: float, width: int | None) -> str:
    """The snapshot as text."""
    parts = [_render_head(snapshot, now_at)]
    if snapshot.engines:
        rows = [_render_engine(engine, now_at) for engine in snapshot.engines]
        parts.append(output.render_table(HEADERS, rows, width, _paint_cell))
        reasons = [f"{engine.id}: {engine.reason}" for engine in snapshot.engines if _is_worth_telling(engine)]
        parts.append("\n".join(reasons))
    if snapshot.endpoints:
        elsewhere = [(endpoint.model, endpoint.url) for endpoint in snapshot.endpoints]
        parts.append(output.render_table(("MODEL", "RUNS AT"), elsewhere, width))
    return "\n\n".join(part for part in parts if part)


def _render_head(snapshot: "FleetSnapshot", now_at: float) -> str:
    gateway = snapshot.gateway
    state = output.paint(gateway.state, _STYLES.get(gateway.state, ""))
    reason = f" ({gateway.reason})" if gateway.reason else ""
    restarts = f", restarted {gateway.restarts} times" if gateway.restarts else ""
    auth = "no API key needed" if gateway.auth == "open" else "API key needed"
    uptime = output.format_seconds(now_at - snapshot.started_at)
    return "\n".join(
        [
            f"{snapshot.phase} for {uptime}, process {snapshot.pid}: {', '.join(snapshot.files)}",
            f"gateway {state}{reason} at {output.paint(gateway.url + '/v1', 'bold')}, {auth}{restarts}",
            f"requests: {_render_outcomes(gateway.requests)}",
        ]
    )


def _render_outcomes(outcomes: dict[str, int] | None) -> str:
    if outcomes is None:
        return "unknown"
    told = [f"{count:,} {outcome.replace('_', ' ')}" for outcome, count in outcomes.items() if count]
    return ", ".join(told) or "none yet"


def _render_engine(engine: "EngineSnapshot", now_at: float) -> tuple[str, ...]:
    return (
        engine.id,
        engine.state,
        output.format_seconds(now_at - engine.since) if engine.since else "",
        _render_load(engine),
        _render_kv(engine),
        f"{engine.max_model_len:,}" if engine.max_model_len else "",
        engine.address,
        str(engine.pid or ""),
        str(engine.restarts),
    )


def _render_load(engine: "EngineSnapshot") -> str:
    if engine.running is None:
        return ""
    waiting = f", {engine.waiting} waiting" if engine.waiting else ""
    speed = f", {engine.generated_tokens_per_s:,.0f} tok/s" if engine.generated_tokens_per_s else ""
    return f"{engine.running} running{waiting}{speed}"


def _render_kv(engine: "EngineSnapshot") -> str:
    if engine.kv_tokens is None:
        return ""
    used = f"{engine.kv_used:.0%} of " if engine.kv_used is not None else ""
    return f"{used}{engine.kv_tokens:,} tok"


def _is_worth_telling(engine: "EngineSnapshot") -> bool:
    return bool(engine.reason) and engine.state != "ready"


def _paint_cell(column: int, text: str) -> str:
    return output.paint(text, _STYLES.get(text.strip(), "")) if column == _STATE_COLUMN else text
