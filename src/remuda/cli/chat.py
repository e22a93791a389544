"""`remuda chat`: talk to a model of the running fleet (or of any OpenAI-compatible address), from a prompt or a
pipe.
"""

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from remuda.cli import output

if TYPE_CHECKING:
    from remuda.fleet.talk import Address, Message, Wish

_KEYS = "Ctrl-D ends, Ctrl-C breaks an answer off, /new starts over"


@click.command(short_help="Talk to a model.")
@click.argument("model", required=False)
@click.option("-m", "--message", help="Ask this one thing and print the answer. Also read from a pipe.")
@click.option("-s", "--system", help="System prompt.")
@click.option("--max-tokens", type=click.IntRange(1), help="Longest answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), help="0 always gives the same answer.")
@click.option("--url", envvar="REMUDA_URL", help="Another server than the fleet of this machine (without /v1).")
def command(
    model: str | None,
    message: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    url: str | None,
) -> None:
    """Talk to a model.

    \b
    remuda chat                       a conversation
    remuda chat -m "What is vLLM?"    one answer
    echo "Say hello" | remuda chat    the same, from a pipe

    Where an API key is needed, it is read from REMUDA_API_KEY.
    """
    from remuda.fleet.talk import Wish

    conversation = Conversation(_find_address(url), model, Wish(max_tokens, temperature), system)
    if message is None and not sys.stdin.isatty():
        message = sys.stdin.read().strip()
        if not message:
            raise click.UsageError("nothing to ask: standard input is empty")
    if message is not None:
        asyncio.run(conversation.ask(message))
    else:
        _converse(conversation)


def _find_address(url: str | None) -> "Address":
    from remuda.fleet import control
    from remuda.fleet.talk import Address
    from remuda.machine.home import Home

    key = os.environ.get("REMUDA_API_KEY", "")
    if url:
        return Address(url.rstrip("/").removesuffix("/v1"), key)
    return Address(control.ask_status(Home.from_environment().state).gateway.url, key, is_ours=True)


class Conversation:
    """What was said, and with whom."""

    def __init__(self, address: "Address", model: str | None, wish: "Wish", system: str | None) -> None:
        self._address = address
        self._model = model
        self._wish = wish
        self._first: list[Message] = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._first)

    @property
    def model(self) -> str:
        """The model's name; "" lets the gateway choose."""
        return self._model or ""

    def start_over(self) -> None:
        """Forget all but the system prompt."""
        self._messages = list(self._first)

    async def choose_model(self) -> None:
        """The only model there is, when none was named; with several, the gateway finds one that chats."""
        from remuda.fleet import talk

        if self._model is None:
            models = await talk.fetch_models(self._address)
            self._model = str(models[0]["id"]) if len(models) == 1 else ""

    async def ask(self, text: str) -> None:
        """Print the answer as it comes; an answer that breaks off is not remembered."""
        from remuda.fleet import talk

        await self.choose_model()
        question: Message = {"role": "user", "content": text}
        answer = ""
        try:
            async for piece in talk.stream_answer(self._address, self.model, [*self._messages, question], self._wish):
                answer += piece.text
                print(piece.text, end="", flush=True)
        finally:
            print(flush=True)
        self._messages += [question, {"role": "assistant", "content": answer}]


def _converse(conversation: Conversation) -> None:
    from remuda.errors import RemudaError

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives input() line editing and history
    asyncio.run(conversation.choose_model())
    click.echo(output.paint(f"{conversation.model or 'chat'}: {_KEYS}", "dim"))
    while (text := _read_question()) is not None:
        if text == "/new":
            conversation.start_over()
        elif text:
            try:
                asyncio.run(conversation.ask(text))
            except KeyboardInterrupt:
                click.echo(output.paint("(broken off)", "dim"))
            except RemudaError as error:
                output.show_error(error.message, error.hint)


def _read_question() -> str | None:
    try:
        return input(output.paint("> ", "cyan")).strip()
    except EOFError:
        click.echo()
        return None
