"""`remuda completion bash|zsh|fish`: the script that a shell sources. Click writes it; we only say how to install
it.
"""

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  remuda completion bash > ~/.local/share/bash-completion/completions/remuda
    zsh:   remuda completion zsh > "${fpath[1]}/_remuda"
    fish:  remuda completion fish > ~/.config/fish/completions/remuda.fish
    """
    from remuda.cli.main import remuda

    chosen = get_completion_class(shell)
    assert chosen is not None
    click.echo(chosen(remuda, {}, "remuda", "_REMUDA_COMPLETE").source())
