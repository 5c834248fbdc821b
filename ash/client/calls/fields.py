"""How bodies and queries are written."""

import base64
from collections.abc import Mapping
from typing import Any


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def encoded(files: Mapping[str, bytes | str]) -> list[dict[str, str]]:
    """Contents by their paths, as the API takes them."""
    return [{"path": name, "content": _base64(content)} for name, content in files.items()]


def _base64(content: bytes | str) -> str:
    data = content.encode() if isinstance(content, str) else content
    return base64.b64encode(data).decode()
