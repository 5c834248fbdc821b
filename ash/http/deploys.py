"""Agents in the body of a request."""

from collections.abc import Mapping

import msgspec
import trio

from ash.errors import BadRequest
from ash.http.large_bodies import LONG, MAX_DEPLOY_BODY, LiftedBody, large_body, lifted
from ash.requests.agents import DeployAgent, File
from ash.requests.base64_text import decoded, in_pieces
from ash.requests.parsing import decode_with_warnings

# 10,000 files, and what a config may have.
MAX_PARTS = 50_000

_deploy = msgspec.json.Decoder(DeployAgent)


async def read_deploy() -> tuple[DeployAgent, Mapping[str, bytes], list[str]]:
    """The agent that is wanted, the contents of large files, and a warning for each odd field.

    Raises BadRequest, naming the field, TooLarge and Unavailable.
    """
    async with large_body(MAX_DEPLOY_BODY) as body:
        return await trio.to_thread.run_sync(_parse, body)


def _parse(body: bytearray) -> tuple[DeployAgent, Mapping[str, bytes], list[str]]:
    found = lifted(body)
    wanted, warnings = decode_with_warnings(found.rest, _deploy, parts=MAX_PARTS)
    wanted.system_prompt = found.restored(wanted.system_prompt)
    wanted.path = found.restored(wanted.path)
    wanted.env = found.restored(wanted.env)
    wanted.config = found.restored(wanted.config)
    if any(found.is_lifted(name) for file in wanted.files or () for name in _names(file)):
        raise BadRequest(f"files: a path is longer than {LONG - 1} bytes")
    large = [file for file in wanted.files or () if file.content and found.is_lifted(file.content)]
    contents = {file.path: _content(file, found) for file in large}
    for file in large:
        file.content = ""
    return wanted, contents, warnings


def _names(file: File) -> tuple[str, str]:
    return file.path, file.link or ""


def _content(file: File, found: LiftedBody) -> bytes:
    text = found.text(file.content or "")
    return b"".join(decoded(in_pieces(text), f'files: the content of "{file.path}"'))
