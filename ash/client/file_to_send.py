"""Files that a caller sends, and the form they have on the wire."""

import base64
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from ash.file_names import as_text


class FileToSend(Struct, frozen=True):
    """A file with its permissions, or a link within the folder to `link`.

    `mode` is octal, as text, such as `"755"`; `executable` is short for `"755"` or `"644"`. Without
    either the server decides.
    """

    content: bytes | str = b""
    executable: bool | None = None
    mode: str | None = None
    link: str | None = None

    @property
    def data(self) -> bytes:
        return self.content.encode() if isinstance(self.content, str) else self.content

    def on_the_wire(self, path: str, content: str) -> dict[str, Any]:
        """The entry of the API's field `files`, with that content."""
        fields = {"executable": self.executable, "mode": self.mode, "link": self.link}
        given = {name: value for name, value in fields.items() if value is not None}
        return {"path": path, **given} if self.link else {"path": path, "content": content, **given}


def to_send(files: Mapping[str, bytes | str | FileToSend]) -> dict[str, FileToSend]:
    return {
        as_text(path): file if isinstance(file, FileToSend) else FileToSend(file)
        for path, file in files.items()
    }


def file_list(files: Mapping[str, FileToSend]) -> list[dict[str, Any]]:
    """The API's field `files`."""
    return [
        file.on_the_wire(path, base64.b64encode(file.data).decode()) for path, file in files.items()
    ]


def names_only(files: Mapping[str, FileToSend]) -> list[dict[str, Any]]:
    """The same with empty contents, for a server in the same process."""
    return [file.on_the_wire(path, "") for path, file in files.items()]
