"""`remuda chat` asks a model of the running fleet, or of another OpenAI-compatible server, and prints its answers."""

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING

import click

from remuda.cli import output
from remuda.cli.parameters import Number

if TYPE_CHECKING:
    from remuda.fleet.chat_client import Address, Message, SamplingParameters

_KEYS = "Ctrl-D ends the chat, Ctrl-C stops an answer, /new starts a new conversation"


@click.command(short_help="Chat with a model.")
@click.argument("model", required=False)
@click.option("-m", "--message", help="Ask one question, print the answer and exit.")
@click.option("-s", "--system", help="System prompt.")
@click.option("--max-tokens", type=Number("tokens", 1), help="Most tokens of one answer.")
@click.option(
    "--temperature",
    type=Number("number", 0, 2, whole=False),
    help="Randomness of the answer, from 0 to 2. With 0, the same question gets the same answer.",
)
@click.option(
    "--url", envvar="REMUDA_URL", help="Base URL of another server, without /v1. By default the fleet on this machine."
)
def command(
    model: str | None,
    message: str | None,
    system: str | None,
    max_tokens: int | None,
    temperature: float | None,
    url: str | None,
) -> None:
    """Chat with a model.

    Without MODEL, the gateway chooses a model that can chat. An API key is read from REMUDA_API_KEY.

    \b
    remuda chat                       a conversation
    remuda chat -m "What is vLLM?"    one question and its answer
    echo "Say hello" | remuda chat    a question from standard input
    """
    from remuda.fleet.chat_client import SamplingParameters

    conversation = Conversation(_find_address(url), model, SamplingParameters(max_tokens, temperature), system)
    if message is None and not sys.stdin.isatty():
        message = sys.stdin.read().strip()
        if not message:
            raise click.UsageError("there is no question: standard input is empty")
    if message is not None:
        asyncio.run(conversation.ask(message))
    else:
        _converse(conversation)


def _find_address(url: str | None) -> "Address":
    from remuda.fleet import control
    from remuda.fleet.chat_client import Address
    from remuda.machine.home import Home

    key = os.environ.get("REMUDA_API_KEY", "")
    if url:
        return Address(url.rstrip("/").removesuffix("/v1"), key)
    return Address(control.ask_status(Home.from_environment().state).gateway.url, key, is_ours=True)


class Conversation:
    """The messages of one conversation, and the model that answers them."""

    def __init__(
        self, address: "Address", model: str | None, parameters: "SamplingParameters", system: str | None
    ) -> None:
        self._address = address
        self._model = model
        self._parameters = parameters
        self._first: list[Message] = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._first)

    @property
    def model(self) -> str:
        """The name of the model; with "", the gateway chooses one."""
        return self._model or ""

    def start_over(self) -> None:
        """Drop all messages except the system prompt."""
        self._messages = list(self._first)

    async def choose_model(self) -> None:
        """Choose the only model of the server when none was named; with several, leave the choice to the gateway."""
        from remuda.fleet import chat_client

        if self._model is None:
            models = await chat_client.fetch_models(self._address)
            self._model = str(models[0]["id"]) if len(models) == 1 else ""

    async def ask(self, text: str) -> None:
        """Print the answer while it arrives. Keep question and answer only when the answer is complete."""
        from remuda.fleet import chat_client

        await self.choose_model()
        question: Message = {"role": "user", "content": text}
        answer = ""
        try:
            async for piece in chat_client.stream_answer(
                self._address, self.model, [*self._messages, question], self._parameters
            ):
                answer += piece.text
                print(piece.text, end="", flush=True)
        finally:
            print(flush=True)
        self._messages += [question, {"role": "assistant", "content": answer}]


def _converse(conversation: Conversation) -> None:
    from remuda.errors import RemudaError

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  importing it gives input() line editing and history
    asyncio.run(conversation.choose_model())
    click.echo(output.paint(f"{conversation.model or 'chat'}: {_KEYS}", "dim"))
    while (text := _read_question()) is not None:
        if text == "/new":
            conversation.start_over()
        elif text:
            try:
                asyncio.run(conversation.ask(text))
            except KeyboardInterrupt:
                click.echo(output.paint("(stopped)", "dim"))
            except RemudaError as error:
                output.show_error(error.message, error.hint)


def _read_question() -> str | None:
    try:
        return input(output.paint("> ", "cyan")).strip()
    except EOFError:
        click.echo()
        return None
