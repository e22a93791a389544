import errno
import importlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest

from remuda import __version__
from remuda.cli import main
from remuda.errors import RemudaError

PYTHON = (sys.executable, "-m", "remuda")


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = main.run_command(arguments)
    told = capsys.readouterr()
    return status, told.out, told.err


def raise_in(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("remuda.cli.commands.status"), "command", command)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_help_line_in_the_table_is_that_of_the_command(name: str) -> None:
    command = importlib.import_module(main.COMMANDS[name].module).command
    assert command.get_short_help_str(limit=200).rstrip(".") == main.COMMANDS[name].summary.rstrip(".")


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(name, "--help", capsys=capsys)
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: remuda {name}")


def all_commands() -> list[tuple[str, click.Command]]:
    """Every command and subcommand with its name."""
    found: list[tuple[str, click.Command]] = []
    for name, entry in main.COMMANDS.items():
        command = importlib.import_module(entry.module).command
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {sub}", command.commands[sub]) for sub in command.commands]
    return found


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=[name for name, _ in all_commands()])
def test_every_option_is_explained_in_a_sentence(name: str, command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert (parameter.help or "").endswith("."), parameter.name
            assert "range" not in parameter.type.name, parameter.name


@pytest.mark.parametrize(("name", "command"), all_commands(), ids=[name for name, _ in all_commands()])
def test_help_fits_80_columns(name: str, command: click.Command) -> None:
    context = click.Context(command, info_name=f"remuda {name}", terminal_width=80)
    assert max(map(len, command.get_help(context).splitlines())) <= 80


def test_help_imports_no_command_and_nothing_heavy() -> None:
    code = "import sys; from remuda.cli.main import run_command; run_command(['--help']); print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    imported = set(told.splitlines()[-1].split())
    heavy = {"asyncio", "httpx", "msgspec", "pydantic", "rich", "yaml"} | {e.module for e in main.COMMANDS.values()}
    assert imported & heavy == set()


def test_help_takes_less_than_300_ms_of_processor_time() -> None:
    subprocess.run([*PYTHON, "--help"], stdout=subprocess.DEVNULL, check=True)  # byte code may have to be written
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*PYTHON, "--help"], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.3


def test_help_groups_commands(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("--help", capsys=capsys)
    assert status == 0
    for heading in dict.fromkeys(entry.heading for entry in main.COMMANDS.values()):
        assert f"\n{heading}:\n" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", capsys=capsys) == (0, f"remuda {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats"], "error: no such command: stats\nhint: did you mean `remuda status`?\n"),
        (["xyzzy"], "error: no such command: xyzzy\nhint: `remuda --help` lists the commands\n"),
        (["up", "--prot", "1"], "error: no such option '--prot'"),
        (["up", "--port", "99999"], "error: invalid value for '--port'"),
        (["gateway"], "error: missing argument 'FILE...'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_status_2_with_a_hint(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(*arguments, capsys=capsys)
    assert (status, out) == (2, "")
    assert err.lower().startswith(message.lower())
    assert "hint: " in err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (RemudaError("it is broken: 7", "mend it"), 1, "error: it is broken: 7\nhint: mend it\n"),
        (RemudaError("two\nlines"), 1, "error: two\n  lines\n"),
        (
            OSError(errno.ENOTDIR, "Not a directory", "/x"),
            1,
            "error: not a directory: /x\nhint: a file stands where a folder is needed: remove it, or set REMUDA_HOME\n",
        ),
        (KeyboardInterrupt(), 130, "\n"),
        (click.Abort(), 130, ""),
    ],
    ids=["remuda-error", "many-lines", "system", "ctrl-c", "abort"],
)
def test_errors_become_a_status_and_no_traceback(
    error: BaseException, status: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raise_in(monkeypatch, error)
    assert run("status", capsys=capsys) == (status, "", told)


def test_a_bug_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    raise_in(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        main.run_command(["status"])


def test_a_reader_that_closes_the_pipe_ends_the_command_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PYTHON, "--help"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("completion", shell, capsys=capsys)
    assert status == 0
    assert "_REMUDA_COMPLETE" in out


def test_completion_of_commands_imports_none_of_them(tmp_path: Path) -> None:
    environment = {**os.environ, "_REMUDA_COMPLETE": "bash_complete", "COMP_WORDS": "remuda st", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['remuda']; from remuda.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "plain,status\n"


def test_a_character_that_the_terminal_cannot_show_is_replaced() -> None:
    code = "from remuda.cli import main; main.prepare_streams(); print('\\u2713 done')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "? done\n"


def test_a_command_without_standard_output_ends_normally() -> None:
    command = f"exec {sys.executable} -m remuda status >&- 2>&-"
    environment = {**os.environ, "REMUDA_HOME": "/nowhere"}
    assert subprocess.run(["sh", "-c", command], env=environment, check=False).returncode == 1


def test_input_that_is_not_utf8_is_read_with_replacement_characters() -> None:
    code = "import sys; from remuda.cli import main; main.prepare_streams(); print(ascii(sys.stdin.read()))"
    done = subprocess.run([sys.executable, "-c", code], input=b"caf\xe9", capture_output=True, check=True)
    assert done.stdout == b"'caf\\ufffd'\n"
