from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated, Any

import msgspec
import trio
from msgspec import Meta, structs

from ash.agent_files.sent_files import SentFile
from ash.agents import CLAUDE_CODE, AgentConfig, Agents, Deployment
from ash.egress import parse as parse_network
from ash.errors import BadRequest
from ash.folder_check import PROMPT_FILE
from ash.model import Agent, FolderCheck
from ash.requests.base64_text import decoded, in_pieces
from ash.requests.file_modes import Mode, file_mode
from ash.requests.parsing import explain
from ash.requests.unknown_fields import MOST_UNKNOWN, refuse_typo
from ash.shapes import Body, Env

_CONFIG = frozenset(each.encode_name for each in structs.fields(AgentConfig))

MOST_FILES = 10_000

AGENT_NAME = r"^[a-zA-Z0-9_-]+\Z"


class File(Body):
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    content: str | None = None
    mode: Mode | None = None
    executable: bool | None = None
    link: Annotated[str, Meta(min_length=1, max_length=4095)] | None = None

    def sent(self, content: bytes | None) -> SentFile:
        """The file with that content, or else the base64's. Raises BadRequest."""
        if self.path.endswith("/") and (self.content or self.link):
            raise BadRequest(f'files: "{self.path}" is a folder, without content or link')
        if self.content is not None and self.link is not None:
            raise BadRequest(f'files: give content or link for "{self.path}", not both')
        if self.content is None and self.link is None and not self.path.endswith("/"):
            raise BadRequest(f'files: the content of "{self.path}" is missing')
        if content is None:
            text = (self.content or "").encode()
            content = b"".join(decoded(in_pieces(text), f'files: the content of "{self.path}"'))
        mode = file_mode(self.path, self.mode, executable=self.executable)
        return SentFile(self.path, content, mode, self.link)


class DeployAgent(Body):
    name: Annotated[str, Meta(pattern=AGENT_NAME, max_length=255)]
    path: Annotated[str, Meta(min_length=1)] | None = None
    files: Annotated[list[File], Meta(min_length=1, max_length=MOST_FILES)] | None = None
    system_prompt: Annotated[str, Meta(min_length=1)] | None = None
    env: Env | None = None
    config: dict[str, Any] | None = None
    force: bool = False
    strict: bool = False


async def deploy(
    agents: Agents,
    tenant: str,
    wanted: DeployAgent,
    contents: Mapping[str, bytes] | None = None,
    *,
    warnings: Iterable[str] = (),
) -> Agent:
    """Deploys an agent. Raises BadRequest.

    A caller that has the files as bytes gives them as `contents`: those in `wanted` are base64.
    `warnings` are those of the body, which `strict` refuses like all others.
    """
    settings = _settings(wanted, warnings)
    if wanted.path is not None:
        return await agents.deploy_path(tenant, wanted.name, wanted.path, settings)
    files = await _files(wanted, contents)
    return await agents.deploy_files(tenant, wanted.name, files, settings)


async def check(
    agents: Agents,
    tenant: str,
    wanted: DeployAgent,
    contents: Mapping[str, bytes] | None = None,
    *,
    warnings: Iterable[str] = (),
) -> FolderCheck:
    """What `deploy` would say, without a deploy. Raises BadRequest where the request is wrong."""
    settings = _settings(wanted, warnings)
    if wanted.path is not None:
        return await agents.check_path(tenant, wanted.name, wanted.path, settings)
    files = await _files(wanted, contents)
    return await agents.check_files(tenant, wanted.name, files, settings)


def _settings(wanted: DeployAgent, warnings: Iterable[str]) -> Deployment:
    check_config(wanted.config)
    given = [wanted.path, wanted.files, wanted.system_prompt]
    if sum(part is not None for part in given) != 1:
        raise BadRequest("Give exactly one of path, files and systemPrompt")
    return Deployment(
        env=wanted.env,
        config=wanted.config,
        force=wanted.force,
        strict=wanted.strict,
        warnings=[*warnings, *unknown_in(wanted.config)],
    )


async def _files(wanted: DeployAgent, contents: Mapping[str, bytes] | None) -> list[SentFile]:
    if wanted.files is None:
        return [SentFile(PROMPT_FILE, (wanted.system_prompt or "").encode())]
    return await trio.to_thread.run_sync(_sent, wanted.files, contents or {})


def _sent(files: list[File], contents: Mapping[str, bytes]) -> list[SentFile]:
    return [file.sent(contents.get(file.path)) for file in files]


def check_config(config: dict[str, Any] | None) -> None:
    """Raises BadRequest if the daemon can't read its own settings in an agent's config."""
    for name in _strangers(config):
        refuse_typo("config", name, _CONFIG)
    try:
        known = msgspec.convert(config or {}, AgentConfig)
        parse_network(known.network)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, "config")) from None
    except ValueError as error:
        raise BadRequest(f"config.network: {error}") from None
    if known.system_prompt not in {None, CLAUDE_CODE}:
        raise BadRequest(
            f'config.systemPrompt can only be "{CLAUDE_CODE}": a prompt of your own is the'
            f" {PROMPT_FILE} of the folder, or `systemPrompt` beside `config`"
        )


def unknown_in(config: dict[str, Any] | None) -> list[str]:
    """A warning for each field that is kept, but that the daemon does not use."""
    return [
        f"config.{name}: this field is kept, but the server does not use it"
        for name in _strangers(config)
    ]


def _strangers(config: dict[str, Any] | None) -> Iterable[str]:
    return islice((name for name in config or {} if name not in _CONFIG), MOST_UNKNOWN)
