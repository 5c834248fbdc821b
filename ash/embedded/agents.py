from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ash.client.calls.fields import given
from ash.embedded.root import TENANT, Calls, call
from ash.model import Agent
from ash.requests.agents import DeployAgent, deploy
from ash.requests.parsing import decode, encode

_deploy = msgspec.json.Decoder(DeployAgent)


class AgentCalls(Calls):
    @call
    async def health(self) -> dict[str, Any]:
        """What a server says of itself."""
        found: dict[str, Any] = msgspec.to_builtins(self._core.health())
        return found

    @call
    async def deploy_agent(
        self,
        name: str,
        *,
        path: str | None = None,
        files: Mapping[str, bytes | str] | None = None,
        system_prompt: str | None = None,
        env: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> Agent:
        """Makes an agent, or its next version, of exactly one of `path`, `files`, `system_prompt`.

        `path` is a folder, a relative one of the script's working directory; `files` are
        contents by their paths.
        """
        body = given(
            name=name,
            path=None if path is None else _absolute(path),
            files=None if files is None else empty(files),
            systemPrompt=system_prompt,
            env=env,
            config=config,
        )
        wanted = decode(encode(body), _deploy)
        contents = {name: as_bytes(content) for name, content in (files or {}).items()}
        return await deploy(self._core.agents, TENANT, wanted, contents)

    @call
    async def list_agents(self) -> list[Agent]:
        return await self._core.agents.find(TENANT)

    @call
    async def get_agent(self, name: str) -> Agent:
        return await self._core.agents.get(TENANT, name)

    @call
    async def delete_agent(self, name: str) -> None:
        await self._core.agents.delete(TENANT, name)


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else path


def empty(files: Mapping[str, bytes | str]) -> list[dict[str, str]]:
    """The files as a body has them, without what is in them: that need not become JSON."""
    return [{"path": path, "content": ""} for path in files]


def as_bytes(content: bytes | str) -> bytes:
    return content.encode() if isinstance(content, str) else content
