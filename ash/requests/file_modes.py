"""How a caller says which permissions a file gets."""

from typing import Annotated

from msgspec import Meta

from ash.agent_files.sent_files import EXECUTABLE, PLAIN
from ash.errors import BadRequest

# Octal, as text: the number 755 could mean either base. Its owner must be able to read it.
Mode = Annotated[
    str,
    Meta(
        pattern=r"^0?[4-7][0-7]{2}\Z",
        description='three octal digits as text, such as "755"; the first is 4 to 7',
    ),
]


def file_mode(path: str, mode: str | None, *, executable: bool | None) -> int | None:
    """The permissions that a file gets; None if the caller leaves them open."""
    if mode is not None and executable is not None:
        raise BadRequest(f'files: give mode or executable for "{path}", not both')
    if mode is not None:
        return int(mode, 8)
    return {None: None, True: EXECUTABLE, False: PLAIN}[executable]
