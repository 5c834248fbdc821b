from collections.abc import Mapping
from typing import Any

from ash.client.calls.fields import encoded, given
from ash.client.request import Request, path
from ash.model import Agent


def health() -> Request[dict[str, Any]]:
    """What the server says of itself; needs no key."""
    return Request(method="GET", path="/health", result=dict[str, Any])


def deploy_agent(
    name: str,
    *,
    path: str | None = None,
    files: Mapping[str, bytes | str] | None = None,
    system_prompt: str | None = None,
    env: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Request[Agent]:
    """Makes an agent, or its next version, of exactly one of `path`, `files`, `system_prompt`.

    `path` is a folder on the server; `files` are contents by their paths.
    """
    sent = None if files is None else encoded(files)
    body = given(
        name=name, path=path, files=sent, systemPrompt=system_prompt, env=env, config=config
    )
    return Request(method="POST", path=_agents(), body=body, result=Agent, under="agent")


def list_agents() -> Request[list[Agent]]:
    return Request(method="GET", path=_agents(), result=list[Agent], under="agents")


def get_agent(name: str) -> Request[Agent]:
    return Request(method="GET", path=_agents(name), result=Agent, under="agent")


def delete_agent(name: str) -> Request[None]:
    return Request(method="DELETE", path=_agents(name), result=type(None))


def _agents(*parts: str) -> str:
    return path("agents", *parts)
