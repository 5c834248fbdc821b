from typing import Annotated

from msgspec import Meta

from ash.requests.body import Body


class UploadedFile(Body):
    path: Annotated[str, Meta(min_length=1)]
    content: str
    mime_type: str | None = None


class UploadFiles(Body):
    files: Annotated[list[UploadedFile], Meta(min_length=1, max_length=500)]
    target_path: str = ""
