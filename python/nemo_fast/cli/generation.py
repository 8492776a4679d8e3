"""`generate` and `chat`: run a model; text appears as it is made."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click

from nemo_fast.cli.inputs import STDIN, is_terminal, read_stdin
from nemo_fast.cli.models import MODEL, model_folder
from nemo_fast.cli.options import JSON, given, loading_options, sampling_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nemo_fast.model import Model

Messages = list[dict[str, Any]]


@click.command()
@MODEL
@click.argument("prompt", required=False, metavar="[PROMPT | -]")
@sampling_options
@loading_options
@JSON
def generate(
    model: str,
    prompt: str | None,
    *,
    loading: dict[str, Any],
    as_json: bool,
    **sampling: object,
) -> None:
    """Continue a text, given as PROMPT or on stdin. No chat format is put around it.

    Example: nemo-fast generate smollm2-135m "The capital of France is" --max-tokens 8 --temperature 0
    """
    text = _argument_or_stdin(prompt, "give a prompt, as an argument or on stdin")
    with _load(model, loading) as loaded:
        if as_json:
            click.echo(loaded.generate(text, **given(sampling)).to_json())
            return
        for chunk in loaded.stream(text, **given(sampling)):
            click.echo(chunk.text, nl=False)
        click.echo()


@click.command()
@MODEL
@click.argument("message", required=False, metavar="[MESSAGE | -]")
@click.option("--system", metavar="TEXT", help="The system message, before all others.")
@sampling_options
@loading_options
@JSON
def chat(
    model: str,
    message: str | None,
    *,
    system: str | None,
    loading: dict[str, Any],
    as_json: bool,
    **sampling: object,
) -> None:
    """Answer MESSAGE, or the text on stdin; at a terminal without either, talk.

    While talking, Ctrl-C stops an answer; at the prompt it leaves, as Ctrl-D does.

    Example: nemo-fast chat smollm2-135m "What is the capital of France?" --temperature 0
    """
    messages: Messages = [{"role": "system", "content": system}] if system is not None else []
    talking = message is None and sys.stdin is not None and sys.stdin.isatty()
    if talking and as_json:
        raise click.UsageError("--json answers one message: give it as an argument or on stdin")
    if not talking:
        # Read before the model is loaded: bad use should not take seconds to say so.
        content = _argument_or_stdin(message, "give a message")
        messages.append({"role": "user", "content": content})
    with _load(model, loading) as loaded:
        if talking:
            _enable_line_editing()
            talk(loaded, messages, given(sampling), read_line=lambda: input("> "))
        elif as_json:
            click.echo(loaded.chat(messages, **given(sampling)).to_json())
        else:
            answer(loaded, messages, given(sampling))


def talk(model: Model, messages: Messages, sampling: dict[str, Any], read_line: Callable[[], str]) -> None:
    """Answer line after line until the end of input; each answer is appended to `messages`.

    Ctrl-C while answering keeps what was said so far and asks for the next line.
    """
    while True:
        try:
            line = read_line()
        except EOFError:
            click.echo()
            return
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line})
        if content := answer(model, messages, sampling, stoppable=True):
            messages.append({"role": "assistant", "content": content})
        else:
            # Stopped before the first word: chat formats have no place for an empty answer.
            messages.pop()


def answer(model: Model, messages: Messages, sampling: dict[str, Any], *, stoppable: bool = False) -> str:
    """Print the model's answer as it is made, and return it. `stoppable`: Ctrl-C ends the answer only."""
    parts: list[str] = []
    stream = model.chat(messages, stream=True, **sampling)
    try:
        for text in _contents(stream):
            parts.append(text)
            click.echo(text, nl=False)
    except KeyboardInterrupt:
        if not stoppable:
            raise
        # The request ends with its stream.
        stream.close()
    click.echo()
    return "".join(parts)


def _contents(chunks: Iterable[Any]) -> Iterable[str]:
    for chunk in chunks:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            yield text


def _load(name: str, loading: dict[str, Any]) -> Model:
    folder = model_folder(name)
    from nemo_fast.model import Model

    return Model.load(folder, **loading)


def _argument_or_stdin(argument: str | None, request: str) -> str:
    if argument is not None and argument != STDIN:
        return argument
    if argument is None and is_terminal():
        raise click.UsageError(request)
    return read_stdin()


def _enable_line_editing() -> None:
    # `input` uses the module once it is imported; not every system has it.
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
