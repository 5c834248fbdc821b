"""Fields of a request that no shape names: a typo is refused, any other is worth a warning."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

import msgspec
from msgspec import Raw, Struct, inspect

from ash.errors import BadRequest
from ash.typos import meant

# So many unknown fields are looked at: more are no typo, and each takes time of the loop.
MOST_UNKNOWN = 20

_object = msgspec.json.Decoder(dict[str, Raw])


class _Shape(Struct, frozen=True):
    """What is known of one level. `below` has the shapes of members that are objects of their own.

    `members`: an object whose names are free, and whose values have that shape.
    """

    names: frozenset[str] = frozenset()
    below: Mapping[str, "_Shape"] = {}
    members: "_Shape | None" = None


def refuse_typos(body: bytes | bytearray, kind: Any) -> None:
    """Raises BadRequest for an unknown field that was meant to be a known one.

    The body fits the shape already.
    """
    for path, name, shape in islice(_strangers(body, _shape(kind), ""), MOST_UNKNOWN):
        refuse_typo(path, name, shape.names)


def refuse_typo(path: str, name: str, known: frozenset[str]) -> None:
    if close := meant(name, known):
        where = f"{path.removesuffix('.')}: " if path else ""
        raise BadRequest(f'{where}unknown field "{name}"; did you mean "{close}"?')


def ignored(body: bytes | bytearray, kind: Any) -> list[str]:
    """A warning for each unknown field of the body."""
    body = body.removeprefix(BOM_UTF8)
    return [
        f"{path}{name}: this field is unknown and has no effect"
        for path, name, _ in islice(_strangers(body, _shape(kind), ""), MOST_UNKNOWN)
    ]


def _strangers(
    body: bytes | bytearray | Raw, shape: _Shape, path: str
) -> Iterator[tuple[str, str, _Shape]]:
    for name, value in _object.decode(body or b"{}").items():
        below = shape.members or shape.below.get(name)
        if shape.members is None and name not in shape.names:
            yield path, name, shape
        elif below is not None and memoryview(value)[:1].tobytes() == b"{":
            yield from _strangers(value, below, f"{path}{name}.")


@cache
def _shape(kind: Any) -> _Shape:
    return _of_type(inspect.type_info(kind)) or _Shape()


def _of_type(info: inspect.Type) -> _Shape | None:
    match info:
        case inspect.Metadata(type=inner):
            return _of_type(inner)
        case inspect.UnionType(types=arms):
            return next((shape for arm in arms if (shape := _of_type(arm))), None)
        case inspect.DictType(value_type=value):
            inner_shape = _of_type(value)
            return _Shape(members=inner_shape) if inner_shape else None
        case inspect.StructType(fields=fields):
            below = {each.encode_name: _of_type(each.type) for each in fields}
            known = {name: shape for name, shape in below.items() if shape}
            return _Shape(frozenset(below), known)
    return None
