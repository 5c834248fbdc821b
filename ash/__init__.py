"""Turns a folder into a production API.

The public names are imported only on first use, because every bridge imports `ash.protocol` and
its start delays the first answer.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ash.client import AnswerText, AshApiError, AshClient, AsyncAshClient, FileToSend
    from ash.embedded import Ash

__all__ = ["AnswerText", "Ash", "AshApiError", "AshClient", "AsyncAshClient", "FileToSend"]

__version__ = "0.1.0"

_HOME = {
    "AnswerText": "ash.client",
    "Ash": "ash.embedded",
    "AshApiError": "ash.client",
    "AshClient": "ash.client",
    "AsyncAshClient": "ash.client",
    "FileToSend": "ash.client",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
