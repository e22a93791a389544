"""`remuda completion bash|zsh|fish` prints the completion script of a shell."""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print a completion script for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a completion script for a shell.

    Save it where the shell looks for completions:

    \b
    remuda completion bash > ~/.local/share/bash-completion/completions/remuda
    remuda completion zsh > "${fpath[1]}/_remuda"
    remuda completion fish > ~/.config/fish/completions/remuda.fish
    """
    chosen = get_completion_class(shell)
    assert chosen is not None
    click.echo(chosen(context.find_root().command, {}, "remuda", "_REMUDA_COMPLETE").source())
