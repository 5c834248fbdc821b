"""What the parts of the repository share."""

from typing import Any
from uuid import uuid4

import msgspec

from ash.store.driver import Driver


class Repository:
    def __init__(self, driver: Driver) -> None:
        self._driver = driver


def new_id() -> str:
    return str(uuid4())


def to_json(value: object) -> str | None:
    """JSON text; None stays None, which is NULL."""
    return None if value is None else msgspec.json.encode(value).decode()


def from_json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)
