"""Prints text, tables and JSON, and turns every error into one line."""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from ash.errors import AshError
from ash.file_names import as_text

# All control characters but tab and line feed. A terminal would obey those in the output of agents
# and servers, so they are removed.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as in a shell


def one_line(text: str) -> str:
    """The text without line ends and control characters; names of files become printable."""
    return as_text(_CONTROL.sub("", " ".join(text.split())))


def write(text: str, *, err: bool = False) -> None:
    """Prints text at once; on a terminal without control characters."""
    stream = sys.stderr if err else sys.stdout
    shown = _CONTROL.sub("", text) if _on_terminal(err=err) else text
    # Half a surrogate pair is valid in JSON but can't be encoded as UTF-8.
    stream.write(shown.encode(errors="replace").decode())
    stream.flush()


def write_bytes(content: bytes) -> None:
    """Prints bytes unchanged; on a terminal as text without control characters."""
    if _on_terminal():
        write(content.decode(errors="replace"))
        return
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints columns as wide as their widest cell, two spaces apart; always prints the head."""
    cells = [list(head), *([one_line(_cell(value)) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def print_fields(fields: dict[str, Any]) -> None:
    """Prints one `name: value` a line, with objects and lists as JSON."""
    width = max(map(len, fields), default=0) + 1
    for name, value in fields.items():
        click.echo(f"{name + ':':<{width}} {one_line(_cell(value))}")


def dim(text: str) -> None:
    """Prints a remark on stderr."""
    click.secho(one_line(text), dim=True, err=True)


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    click.echo(one_line(f"warning: {text}"), err=True)


def missing_protection(health: dict[str, Any]) -> list[str]:
    """What this server can't do to keep sandboxes apart and within limits, in words."""
    missing: list[str] = health.get("isolation", {}).get("missing", [])
    return missing


def warn_of_missing_protection(health: dict[str, Any]) -> None:
    for text in missing_protection(health):
        warn(text)


def _on_terminal(*, err: bool = False) -> bool:
    return (sys.stderr if err else sys.stdout).isatty()


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class OneLineErrors(click.Command):
    """A mixin for commands and groups that prints errors as one line instead of click's display."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        name = prog_name or self.name or "ash"
        try:
            code = super().main(args, name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else name
            _fail(name, f"{error.format_message()} (see {command} --help)", error.exit_code)
        except click.ClickException as error:
            _fail(name, error.format_message(), error.exit_code)
        except AshError as error:
            _fail(name, error.text, _FAILED)
        except OSError as error:
            _fail(name, f"{error.filename or 'error'}: {error.strerror or error}", _FAILED)
        except click.Abort:
            sys.exit(_INTERRUPTED)
        except Exception as error:  # noqa: BLE001 - users get one line, not a traceback
            _fail(name, f"unexpected {type(error).__name__}: {error}", _FAILED)
        sys.exit(code if isinstance(code, int) else 0)


class OneLineGroup(OneLineErrors, click.Group):
    pass


class OneLineCommand(OneLineErrors, click.Command):
    pass


def _fail(name: str, text: str, code: int) -> NoReturn:
    click.echo(f"{name}: {one_line(text)}", err=True)
    sys.exit(code)
