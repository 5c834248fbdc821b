"""One option of the settings, and how its value is read from a file, a variable or a flag."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_origin

import msgspec
from msgspec import Struct

from ash.config_rules import bare_type
from ash.errors import ConfigError
from ash.typos import meant


class Option(Struct, frozen=True):
    """One row of the table. `field` is also the key in ash.toml; `rule` says what is allowed."""

    field: str
    env: str
    type: Any
    default: Any
    help: str
    rule: str
    secret: bool

    @property
    def flag(self) -> str:
        return "--" + self.field.replace("_", "-")

    @property
    def is_list(self) -> bool:
        return get_origin(bare_type(self.type)) is tuple


def read_toml(path: Path) -> dict[str, Any]:
    """Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an error, empty if nothing is alike."""
    close = meant(name, known)
    return f"; did you mean {close}?" if close else ""


def from_text(option: Option, text: str) -> Any:
    """Converts the text of a variable or flag to the option's type, if it fits."""
    if option.is_list:
        return [part.strip() for part in text.split(",") if part.strip()]
    # Only these types, because the lax mode would also read the text "null" as None.
    if (bare := bare_type(option.type)) not in {int, float, bool}:
        return text
    try:
        return msgspec.convert(text, bare, strict=False)
    except msgspec.ValidationError:
        return text


def checked(option: Option, value: Any, source: str) -> Any:
    """The value with the option's type. Raises ConfigError, which names `source`."""
    plain = str(value) if isinstance(value, Path) else value
    if option.secret and isinstance(plain, str):
        plain = plain.strip()  # a file of a secret store often ends in a line feed
    try:
        typed = msgspec.convert(plain, option.type, dec_hook=_to_path)
    except msgspec.ValidationError:
        typed = None
    if typed is None:
        got = "" if option.secret else f", not {plain!r}"
        raise ConfigError(f"{option.field} (from {source}) must be {option.rule}{got}")
    return typed


def _to_path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise msgspec.ValidationError
