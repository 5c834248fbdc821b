"""Says in words what a setting may be, from its type."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import inspect


def bare_type(kind: Any) -> Any:
    """The type without Annotated and Optional."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in {Union, UnionType}:
        return bare_type(next(arm for arm in get_args(kind) if arm is not type(None)))
    return kind


def rule_of(kind: Any) -> str:
    """What a value of this type must be, in words for an error and for the docs."""
    bare = bare_type(kind)
    if get_origin(bare) is Literal:
        return "one of " + ", ".join(get_args(bare))
    named = {Path: "a path", bool: "true or false"}
    return named.get(bare) or _rule_of_info(inspect.type_info(kind))


def _rule_of_info(info: inspect.Type) -> str:
    match info:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return str((extra or {}).get("description") or _rule_of_info(inner))
        case inspect.UnionType(types=arms):
            return _rule_of_info(next(arm for arm in arms if not isinstance(arm, inspect.NoneType)))
        case inspect.VarTupleType(item_type=item):
            return f"a list, each {_rule_of_info(item)}"
        case inspect.IntType(ge=low, le=high):
            return f"a whole number{_span(low, high)}"
        case inspect.FloatType(ge=low, le=high):
            return f"a number{_span(low, high)}"
    return "a text that is not empty"


def _span(low: float | None, high: float | None) -> str:
    if high is None:
        return f" of {low:.12g} or more"
    return f" from {low:.12g} to {high:.12g}"
