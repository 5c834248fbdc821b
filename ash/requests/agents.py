import base64
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ash.agents import CLAUDE_CODE, PROMPT_FILE, AgentConfig, Agents, Deployment
from ash.egress import parse as parse_network
from ash.errors import BadRequest
from ash.model import Agent
from ash.requests.parsing import explain
from ash.shapes import Body, Env

AGENT_NAME = r"^[a-zA-Z0-9_-]+\Z"


class File(Body):
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    content: str

    def data(self) -> bytes:
        try:
            return base64.b64decode(self.content, validate=True)
        except ValueError:
            raise BadRequest(f'files: the content of "{self.path}" is not base64') from None


class DeployAgent(Body):
    name: Annotated[str, Meta(pattern=AGENT_NAME, max_length=255)]
    path: Annotated[str, Meta(min_length=1)] | None = None
    files: Annotated[list[File], Meta(min_length=1)] | None = None
    system_prompt: Annotated[str, Meta(min_length=1)] | None = None
    env: Env | None = None
    config: dict[str, Any] | None = None


async def deploy(
    agents: Agents, tenant: str, wanted: DeployAgent, contents: Mapping[str, bytes] | None = None
) -> Agent:
    """Deploys an agent. Raises BadRequest.

    A caller that has the files as bytes gives them as `contents`: those in `wanted` are base64.
    """
    settings = Deployment(env=wanted.env, config=wanted.config)
    check_config(wanted.config)
    given = [wanted.path, wanted.files, wanted.system_prompt]
    if sum(part is not None for part in given) != 1:
        raise BadRequest("Give exactly one of path, files and systemPrompt")
    if wanted.path is not None:
        return await agents.deploy_path(tenant, wanted.name, wanted.path, settings)
    if wanted.files is None:
        contents = {PROMPT_FILE: (wanted.system_prompt or "").encode()}
    elif contents is None:
        contents = {file.path: file.data() for file in wanted.files}
    return await agents.deploy_files(tenant, wanted.name, contents, settings)


def check_config(config: dict[str, Any] | None) -> None:
    """Raises BadRequest if the daemon can't read its own settings in an agent's config."""
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
