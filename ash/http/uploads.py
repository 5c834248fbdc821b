"""Files in the body of a request, for a workspace."""

import msgspec
import trio

from ash.errors import BadRequest
from ash.http.large_bodies import LONG, MAX_UPLOAD_BODY, LiftedBody, large_body, lifted
from ash.requests.base64_text import decoded, decoded_size, in_pieces
from ash.requests.parsing import decode
from ash.requests.sessions import UploadedFile, UploadFiles
from ash.sessions.files import Upload

_upload_files = msgspec.json.Decoder(UploadFiles)


async def read_uploads() -> tuple[list[Upload], str]:
    """The files in the request's body, and the folder that they are for.

    Raises BadRequest, naming the field, TooLarge and Unavailable.
    """
    async with large_body(MAX_UPLOAD_BODY) as body:
        return await trio.to_thread.run_sync(_parse, body)


def _parse(body: bytearray) -> tuple[list[Upload], str]:
    found = lifted(body)
    wanted = decode(found.rest, _upload_files)
    if any(map(found.is_lifted, (wanted.target_path, *(file.path for file in wanted.files)))):
        raise BadRequest(f"A path is longer than {LONG - 1} bytes")
    return [_as_upload(file, found) for file in wanted.files], wanted.target_path


def _as_upload(file: UploadedFile, found: LiftedBody) -> Upload:
    text = found.text(file.content)
    content = decoded(in_pieces(text), f'The content of "{file.path}"')
    return file.upload(decoded_size(in_pieces(text)), content)
