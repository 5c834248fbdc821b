"""Finds unknown fields of a request: a typo is refused, any other field gets a warning.

Unknown parameters of a query are ignored, but for typos: proxies and browsers add their own.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
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
_list = msgspec.json.Decoder(list[Raw])


class _Shape(Struct, frozen=True):
    """What is known of one level. `below` has the shapes of members that are objects or lists.

    `members`: an object whose names are free, and whose values have that shape. `items`: a list
    whose elements have that shape.
    """

    names: frozenset[str] = frozenset()
    below: Mapping[str, "_Shape"] = {}
    members: "_Shape | None" = None
    items: "_Shape | None" = None


def unknown_fields(body: bytes | bytearray, kind: Any) -> list[str]:
    """A warning for each unknown field of a body that fits the shape already.

    Raises BadRequest for one that was meant to be a known one.
    """
    warnings = []
    for path, name, shape in islice(_in_object(body or b"{}", _shape(kind), ""), MOST_UNKNOWN):
        refuse_typo(path, name, shape.names)
        warnings.append(f"{_join(path, name)}: this field is unknown and has no effect")
    return warnings


def refuse_typo(path: str, name: str, known: frozenset[str]) -> None:
    if close := meant(name, known):
        where = f"{path}: " if path else ""
        raise BadRequest(f'{where}unknown field "{name}"; did you mean "{close}"?')


def refuse_mistyped(parameters: Iterable[str], known: Collection[str]) -> None:
    """Raises BadRequest for a parameter of a query that was meant to be a known one."""
    unknown = (name for name in parameters if name not in known)
    for name in islice(unknown, MOST_UNKNOWN):
        if close := meant(name, known):
            raise BadRequest(f'unknown parameter "{name}"; did you mean "{close}"?')


def _in_object(
    body: bytes | bytearray | Raw, shape: _Shape, path: str
) -> Iterator[tuple[str, str, _Shape]]:
    """The path and name of each unknown field, and the shape of the object that it is in."""
    for name, value in _object.decode(body).items():
        below = shape.members or shape.below.get(name)
        if shape.members is None and name not in shape.names:
            yield path, name, shape
        elif below is not None:
            yield from _in_value(value, below, _join(path, name))


def _in_value(value: Raw, shape: _Shape, path: str) -> Iterator[tuple[str, str, _Shape]]:
    first = memoryview(value)[:1].tobytes()
    if first == b"{":
        yield from _in_object(value, shape, path)
    elif first == b"[" and shape.items is not None:
        for index, item in enumerate(_list.decode(value)):
            yield from _in_value(item, shape.items, f"{path}[{index}]")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


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
        case inspect.ListType(item_type=item):
            item_shape = _of_type(item)
            return _Shape(items=item_shape) if item_shape else None
        case inspect.StructType(fields=fields):
            below = {each.encode_name: _of_type(each.type) for each in fields}
            known = {name: shape for name, shape in below.items() if shape}
            return _Shape(frozenset(below), known)
    return None
