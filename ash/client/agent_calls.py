from collections.abc import Mapping
from typing import Any

from ash.client.file_to_send import FileToSend, to_send
from ash.client.request import HEALTH, Request, given
from ash.file_names import as_text
from ash.model import Agent, FolderCheck

# Seconds. A check runs the folder's scripts and tries its MCP servers.
TRIAL = 700.0


def health() -> Request[dict[str, Any]]:
    """The state of the server and of its sandboxes; needs no key."""
    return Request(method="GET", path=HEALTH, result=dict[str, Any])


def deploy_agent(
    name: str,
    *,
    path: str | None = None,
    files: Mapping[str, bytes | str | FileToSend] | None = None,
    system_prompt: str | None = None,
    env: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    force: bool | None = None,
    strict: bool | None = None,
) -> Request[Agent]:
    """Makes an agent, or its next version, of exactly one of `path`, `files`, `system_prompt`.

    `path` is a folder on the server; for `Ash` a relative one begins at the script's working
    directory. `files` are contents by their paths, or each a `FileToSend`, which also says whether
    it is executable, or where a link leads. The agent's `warnings` say what of the folder
    was left out, or will not work, and why. A folder with errors is refused, unless by `force`;
    `strict` also refuses warnings.
    """
    return Request(
        method="POST",
        path=("agents",),
        body=given(
            name=name,
            path=None if path is None else as_text(path),
            systemPrompt=system_prompt,
            env=env,
            config=config,
            force=force,
            strict=strict,
        ),
        files=None if files is None else to_send(files),
        result=Agent,
        under="agent",
        beside=("warnings",),
    )


def check_agent(
    name: str,
    *,
    path: str | None = None,
    files: Mapping[str, bytes | str | FileToSend] | None = None,
    env: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    strict: bool | None = None,
) -> Request[FolderCheck]:
    """Says what `deploy_agent` would say to the folder, and deploys nothing."""
    return Request(
        method="POST",
        path=("agents", "check"),
        body=given(
            name=name,
            path=None if path is None else as_text(path),
            env=env,
            config=config,
            strict=strict,
        ),
        files=None if files is None else to_send(files),
        result=FolderCheck,
        patience=TRIAL,
    )


def list_agents() -> Request[list[Agent]]:
    return Request(method="GET", path=("agents",), result=list[Agent], under="agents")


def get_agent(name: str) -> Request[Agent]:
    return Request(method="GET", path=("agents", name), result=Agent, under="agent")


def delete_agent(name: str) -> Request[None]:
    return Request(method="DELETE", path=("agents", name), result=type(None))
