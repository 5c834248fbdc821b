"""Reads JSON as strictly as JavaScript does, and remembers where each value stands."""

import re
from json import JSONDecodeError, JSONDecoder
from typing import Any

from msgspec import Struct, field

_BLANK = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}
MAX_DEPTH = 200
_decoder = JSONDecoder()


class Node(Struct):
    """A value and where it begins. An object is a dict of nodes, an array a list of them.

    `keys` is where the names of an object stand, `repeated` those that stand twice or more.
    """

    at: int
    value: Any
    keys: dict[str, int] = field(default_factory=dict)
    repeated: list[tuple[int, str]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The name that JSON has for this type."""
        match self.value:
            case bool():
                return "boolean"
            case None:
                return "null"
            case str():
                return "string"
            case dict():
                return "object"
            case list():
                return "array"
        return "number"

    def get(self, name: str) -> "Node | None":
        """A member of an object; None if there is none, or if this is no object."""
        return self.value.get(name) if isinstance(self.value, dict) else None

    def plain(self) -> Any:
        """The value without places."""
        match self.value:
            case dict():
                return {name: member.plain() for name, member in self.value.items()}
            case list():
                return [item.plain() for item in self.value]
        return self.value

    @property
    def items(self) -> "list[Node]":
        """The elements of an array; none if this is no array."""
        return self.value if isinstance(self.value, list) else []

    @property
    def members(self) -> "dict[str, Node]":
        """The members of an object; none if this is no object."""
        return self.value if isinstance(self.value, dict) else {}


class JsonFault(Exception):
    """`text` says what is wrong with the JSON, `at` where."""

    def __init__(self, text: str, at: int) -> None:
        super().__init__(text)
        self.text = text
        self.at = at


def parse(text: str) -> Node:
    """Raises JsonFault."""
    reader = _Reader(text)
    node = reader.value(0)
    reader.skip_blanks()
    if reader.at < len(text):
        raise reader.fault("something stands after the end")
    return node


def _whole(text: str) -> str:
    """JSON may hold half a surrogate pair, which UTF-8 can not carry: it becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Reader:
    def __init__(self, text: str) -> None:
        self.at = 0
        self._text = text

    def skip_blanks(self) -> str:
        """The character that comes next, empty at the end."""
        match = _BLANK.match(self._text, self.at)
        self.at = match.end() if match else self.at
        return self._text[self.at : self.at + 1]

    def fault(self, text: str) -> JsonFault:
        if self._text[self.at : self.at + 2] in {"//", "/*"}:
            text = "JSON has no comments"
        elif self.at >= len(self._text):
            text = "the file ends too early"
        return JsonFault(text, self.at)

    def value(self, depth: int) -> Node:
        next_one, at = self.skip_blanks(), self.at
        if depth > MAX_DEPTH:
            raise self.fault(f"nested more than {MAX_DEPTH} deep")
        if next_one == "{":
            return self._object(depth)
        if next_one == "[":
            return self._array(depth)
        return Node(at, self._string() if next_one == '"' else self._word())

    def _object(self, depth: int) -> Node:
        node = Node(self.at, {})
        comma: int | None = None
        self.at += 1
        while (next_one := self.skip_blanks()) != "}":
            self._check_comma(node, comma)
            if next_one != '"':
                raise self.fault("a name in double quotes is expected")
            at, name = self.at, self._string()
            if self.skip_blanks() != ":":
                raise self.fault('":" is expected')
            self.at += 1
            if name in node.value:
                node.repeated.append((at, name))
            node.keys[name] = at
            node.value[name] = self.value(depth + 1)
            comma = self._comma()
        self._end(comma)
        return node

    def _array(self, depth: int) -> Node:
        node = Node(self.at, [])
        comma: int | None = None
        self.at += 1
        while self.skip_blanks() != "]":
            self._check_comma(node, comma)
            node.value.append(self.value(depth + 1))
            comma = self._comma()
        self._end(comma)
        return node

    def _check_comma(self, node: Node, comma: int | None) -> None:
        if node.value and comma is None:
            raise self.fault('"," is expected')

    def _comma(self) -> int | None:
        """Where the comma stands that comes next."""
        if self.skip_blanks() != ",":
            return None
        self.at += 1
        return self.at - 1

    def _end(self, comma: int | None) -> None:
        if comma is not None:
            raise JsonFault("trailing comma", comma)
        self.at += 1

    def _string(self) -> str:
        try:
            text, self.at = _decoder.raw_decode(self._text, self.at)
        except JSONDecodeError as error:
            self.at = error.pos
            text = error.msg.removesuffix(" at").removesuffix(" starting").rstrip(": ")
            raise self.fault(f"{text[0].lower()}{text[1:]}") from None
        return _whole(str(text))

    def _word(self) -> Any:
        for word, value in _WORDS.items():
            if self._text.startswith(word, self.at):
                self.at += len(word)
                return value
        number = _NUMBER.match(self._text, self.at)
        if not number:
            raise self.fault("a value is expected")
        self.at = number.end()
        return float(number[0])
