"""How a request's body is read."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from ash.errors import BadRequest
from ash.protocol import with_whole_characters

T = TypeVar("T")

# \Z, as $ lets a line feed follow.
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*\Z"
# A NUL would end the variable, and begin what the program that takes it reads next.
VALUE = r"^[^\0]*\Z"

Env = dict[Annotated[str, Meta(pattern=VARIABLE)], Annotated[str, Meta(pattern=VALUE)]]


class Body(Struct, rename="camel", kw_only=True):
    pass


def one_of(*words: str) -> Meta:
    """As a Literal, but its error tells the words."""
    return Meta(pattern=rf"^({'|'.join(words)})\Z")


def decode(body: bytes | bytearray, shape: msgspec.json.Decoder[T]) -> T:
    """The body as that shape; none at all is `{}`. Raises BadRequest, naming the field."""
    try:
        return shape.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        mended = with_whole_characters(bytes(body))
        if mended != body:
            return decode(mended, shape)
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply") from None


def encode(fields: Mapping[str, Any]) -> bytes:
    """The body that says the same as these Python values. Raises BadRequest."""
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:
        raise BadRequest("A text has half a character in it") from None
    except (TypeError, ValueError) as error:
        raise BadRequest(f"This can't be sent as JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply") from None


def explain(error: msgspec.ValidationError, prefix: str = "") -> str:
    """Puts the field's name before the rule that it broke."""
    rule, _, place = str(error).replace(r"\\Z", "$").partition(" - at `")
    path = (prefix + place.removeprefix("key` in `").removeprefix("$").rstrip("`")).lstrip(".")
    if missing := re.search(r"missing required field `(\w+)`", rule):
        return f"{path}.{missing[1]}".lstrip(".") + ": this field is required"
    if words := re.search(r"matching regex '\^\(([\w|]+)\)\$", rule):
        return f"{path}: expected one of {words[1].replace('|', ', ')}"
    return f"{path or 'body'}: {rule[0].lower()}{rule[1:]}".replace("`", '"')
