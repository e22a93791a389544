"""The command `remuda`: imports the module of a command when it is used, and turns errors into an exit status.

It imports only click at first, so that `remuda --help` and shell completion answer at once. The table below therefore
repeats the first help line of each command; a test compares them. Exit statuses: 0 success; 1 an error that a user can
act on, or a reader of the output that went away; 2 wrong usage; 130 Ctrl-C. An OSError is shown in the system's words.
Any other exception is a bug and shows its traceback.
"""

import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple, NoReturn

import click
from click.shell_completion import CompletionItem

from remuda import __version__
from remuda.cli import output
from remuda.errors import RemudaError

EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 1  # click uses the same status


class Entry(NamedTuple):
    """One command: its heading in `--help`, its module, and its first help line."""

    heading: str
    module: str
    summary: str


COMMANDS: dict[str, Entry] = {
    "up": Entry("Serve", "remuda.cli.commands.up", "Serve the models of FILE on this machine."),
    "down": Entry("Serve", "remuda.cli.commands.down", "Stop what `remuda up` started."),
    "gateway": Entry("Serve", "remuda.cli.commands.gateway", "Run only the gateway, for engines that already run."),
    "status": Entry("Inspect", "remuda.cli.commands.status", "Show the state of the gateway and of each engine."),
    "logs": Entry("Inspect", "remuda.cli.commands.logs", "Show the logs of the engines and the gateway."),
    "chat": Entry("Inspect", "remuda.cli.commands.chat", "Chat with a model."),
    "validate": Entry("Model files", "remuda.cli.commands.validate", "Check model files and list every problem."),
    "schema": Entry("Model files", "remuda.cli.commands.schema", "Print the JSON Schema or the CRDs of model files."),
    "engine": Entry("Manage", "remuda.cli.commands.engine", "Install, list and remove versions of vLLM."),
    "tenant": Entry("Manage", "remuda.cli.commands.tenant", "Create, list, rotate and revoke API keys."),
    "completion": Entry("Manage", "remuda.cli.commands.completion", "Print a completion script for a shell."),
}


class UnknownCommandError(RemudaError):
    """The first word of the command line is not a command."""

    exit_status = EXIT_USAGE


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = importlib.import_module(entry.module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean `remuda {near[0]}`?" if near else "`remuda --help` lists the commands"
            raise UnknownCommandError(f"no such command: {name}", hint)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        longest = max(map(len, COMMANDS))
        by_heading: dict[str, list[tuple[str, str]]] = {}
        for name, entry in COMMANDS.items():
            by_heading.setdefault(entry.heading, []).append((name, entry.summary))
        for heading, rows in by_heading.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(longest), summary) for name, summary in rows], col_spacing=3)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(name, help=entry.summary) for name, entry in COMMANDS.items() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`remuda up` without a file serves a small model on this machine, without a GPU.",
)
@click.version_option(__version__, "-V", "--version", prog_name="remuda", message="%(prog)s %(version)s")
def remuda() -> None:
    """Serve open LLMs with vLLM, from one model file."""


def main() -> NoReturn:
    """The entry point of the `remuda` command."""
    prepare_streams()
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line, print errors to standard error, and return the exit status."""
    try:
        result = remuda.main(args=list(arguments), prog_name="remuda", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon_output()
        return EXIT_BROKEN_PIPE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        return _report_click(error)
    except RemudaError as error:
        output.show_error(error.message, error.hint)
        return error.exit_status
    except OSError as error:
        return _report_refusal(error)
    return result if isinstance(result, int) else 0


def _report_click(error: click.ClickException) -> int:
    if not isinstance(error, click.UsageError):
        output.show_error(error.format_message())
        return error.exit_code
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return EXIT_USAGE
    path = error.ctx.command_path if error.ctx else "remuda"
    message = error.format_message().rstrip(".")
    output.show_error(message[:1].lower() + message[1:], f"`{path} --help` shows the usage")
    return EXIT_USAGE


def _report_refusal(error: OSError) -> int:
    """Print what the operating system refused: a full disk, a file of another user, a folder that is a file."""
    from remuda.machine.errors import explain_os_error

    told = explain_os_error(error)
    output.show_error(told.message, told.hint)
    return told.exit_status


def prepare_streams() -> None:
    """Make the standard streams safe to use.

    A character that the terminal cannot show, input that is not text, or a closed stream must not end a fleet.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (for the whole life of the process)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _abandon_output() -> None:
    # The interpreter flushes standard output once more at exit; on /dev/null that cannot fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
