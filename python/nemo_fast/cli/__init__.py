"""The command `nemo-fast`: which commands there are, and how errors end them.

A command's module is imported when that command runs, and imports the rest of the package inside its
function: `nemo-fast count` in a shell loop should cost little more than Python itself.

Exit codes: 0, 1 for a failed job, 2 for bad use, 3 where `count` is over a budget or a request of `fit` stays
over it, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import Any, NoReturn

import click

# The module of each command; the function in it has the command's name.
_COMMANDS = {
    "count": "counting",
    "encode": "text",
    "decode": "text",
    "truncate": "cutting",
    "split": "cutting",
    "fit": "fitting",
    "pull": "checkpoints",
    "convert": "checkpoints",
    "info": "checkpoints",
    "bench": "benching",
    "generate": "generation",
    "chat": "generation",
}


class CommandLine(click.Group):
    """The commands, imported when asked for; every error becomes one line on stderr and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the help text."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return a command by name, None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"nemo_fast.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is no command")
        return command

    def main(self, *arguments: Any, **options: Any) -> NoReturn:  # noqa: ANN401
        """Run a command line and exit."""
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_rest: _report(f"warning: {message}")
            try:
                code = super().main(*arguments, **{**options, "standalone_mode": False})
            except Exception as error:  # noqa: BLE001 - what is no report is raised again
                code = _reported_exit_code(error)
        sys.exit(code if isinstance(code, int) else 0)


def _reported_exit_code(error: Exception) -> int:
    """Report an error that a user can do something about; raise any other again."""
    # Imported here, because most runs end well and need no exception class.
    from nemo_fast._native import NemoFastError

    match error:
        case click.Abort():  # Ctrl-C, after which there is nothing to say
            return 130
        case click.UsageError(ctx=context):
            _report(error.format_message(), context)
            return 2
        case click.ClickException():
            _report(error.format_message())
            return error.exit_code
        case OSError(filename=str(filename), strerror=str(reason)):
            _report(f"{filename}: {reason}")
            return 1
        case OSError() | ImportError() | NemoFastError() | UnicodeError():
            _report(str(error))
            return 1
        case ValueError():
            _report(str(error))
            return 2
        case _:
            raise error


def _report(message: str, context: click.Context | None = None) -> None:
    command = context.command_path if context is not None else "nemo-fast"
    click.echo(f"{command}: {' '.join(message.split())}", err=True)


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nemo-fast")
def main() -> None:
    """Mistral Nemo 12B in process: tokens, chats, checkpoints.

    Example: nemo-fast chat smollm2-135m "What is the capital of France?"
    """
