"""How the command line fails: one line on stderr, a non-zero exit, never a traceback."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from ash.cli.output import one_line
from ash.errors import AshError

_FAILED = 1
_INTERRUPTED = 130  # 128 + SIGINT, as shells count


class OneLineErrors(click.Command):
    """Takes the place of click's own error display; mix it into a command or group."""

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
        except Exception as error:  # noqa: BLE001 - a user gets a line, whatever broke
            _fail(name, f"unexpected {type(error).__name__}: {error}", _FAILED)
        sys.exit(code if isinstance(code, int) else 0)


class OneLineGroup(OneLineErrors, click.Group):
    pass


class OneLineCommand(OneLineErrors, click.Command):
    pass


def _fail(name: str, text: str, code: int) -> NoReturn:
    click.echo(f"{name}: {one_line(text)}", err=True)
    sys.exit(code)
