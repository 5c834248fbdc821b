"""What a session is made from: its sandbox, its engine's settings, its row."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct, field, structs

from ash.agents import agent_config
from ash.egress import Policy
from ash.egress import cap as cap_network
from ash.egress import parse as parse_network
from ash.limits import AskedLimits, Limits, cap
from ash.model import Message, Session, SessionSettings, StoredAgent, StoredSession
from ash.protocol import Branch, Open, Query, Resume
from ash.sandbox.sandbox import PoolKey, SandboxSpec

# What a session's owner may set at any time: the engine's name for it, and the API's.
CONFIG = {
    "allowed_tools": "allowedTools",
    "disallowed_tools": "disallowedTools",
    "betas": "betas",
    "subagents": "subagents",
    "initial_agent": "initialAgent",
}


class ServerRules(Struct, frozen=True, kw_only=True):
    """What the daemon's settings say for all sessions.

    None gets more than `limits` and `network` allow. Idle for `idle_timeout` seconds, a
    session gives up its sandbox; 0 means never. With `auto_resume` a message resumes its session,
    where it does not say.
    """

    permission_mode: str
    idle_timeout: float
    auto_resume: bool
    pre_warm: int
    limits: Limits
    network: Policy


class NewSession(Struct, kw_only=True):
    """What a session is created with. `config` is what its owner may change later."""

    agent: str
    model: str | None = None
    system_prompt: str | None = None
    mcp_servers: dict[str, Any] | None = None
    permission_mode: str | None = None
    extra_env: dict[str, str] = field(default_factory=dict)
    limits: AskedLimits | None = None
    config: dict[str, Any] = field(default_factory=dict)


def sandbox_spec(
    rules: ServerRules,
    agent: StoredAgent,
    asked: AskedLimits | None = None,
    *,
    restore: bool = False,
) -> SandboxSpec:
    """A sandbox for this agent; with `restore` it goes on with the files that were kept."""
    config = agent_config(agent)
    return SandboxSpec(
        key=PoolKey(agent.agent.tenant_id, agent.agent.name, agent.agent.version),
        source=Path(agent.source),
        env=agent.env,
        limits=cap(config.limits, asked, most=rules.limits),
        network=cap_network(parse_network(config.network), rules.network),
        restore=restore,
    )


def new_session(
    session_id: str, agent: StoredAgent, wanted: NewSession, *, mode: str, owner: str, now: str
) -> StoredSession:
    """The row to begin with; `mode` is the permission mode if nothing else is wanted."""
    session = Session(
        id=session_id,
        tenant_id=agent.agent.tenant_id,
        agent_name=wanted.agent,
        sandbox_id=session_id,
        status="starting",
        created_at=now,
        last_active_at=now,
        model=wanted.model,
        config=wanted.config or None,
    )
    settings = SessionSettings(
        system_prompt=wanted.system_prompt,
        mcp_servers=wanted.mcp_servers,
        permission_mode=wanted.permission_mode or mode,
        extra_env=wanted.extra_env,
        limits=msgspec.to_builtins(wanted.limits),
    )
    version = agent.agent.version
    return StoredSession(session=session, settings=settings, agent_version=version, owner=owner)


def forked(
    parent: StoredSession, taken: Sequence[Message], *, whole: bool, owner: str, now: str
) -> StoredSession:
    """A session that goes on from the `taken` messages of its parent, paused.

    If these are not the `whole` conversation, the engine is told the last one to take over.
    """
    at = None if whole else _last_uuid(taken)
    prompts = None if whole else sum(message.role == "user" for message in taken)
    own = Branch(session_id=parent.session.id, at=at, prompts=prompts)
    # A parent that is a fork itself, and was not resumed yet, has no conversation of its own.
    inherited = [
        branch if whole else structs.replace(branch, at=at, prompts=prompts)
        for branch in _branches(parent)
    ]
    session = structs.replace(
        parent.session,
        id=(fork_id := str(uuid4())),
        sandbox_id=fork_id,
        parent_session_id=parent.session.id,
        status="paused",
        created_at=now,
        last_active_at=now,
    )
    kept = [own, *inherited] if whole or at else []
    settings = structs.replace(parent.settings, fork=msgspec.to_builtins(kept) or None)
    return StoredSession(
        session=session, settings=settings, agent_version=parent.agent_version, owner=owner
    )


class _Said(Struct):
    type: str = ""
    uuid: str | None = None


_said = msgspec.json.Decoder(_Said).decode


def _last_uuid(messages: Sequence[Message]) -> str | None:
    """Of the last that the agent said: the CLI can go on from there."""
    for message in reversed(messages):
        if message.role == "assistant" and (uuid := _uuid(message.content)):
            return uuid
    return None


def _uuid(content: str) -> str | None:
    """None for what is not of the agent's own words; it may be any JSON."""
    try:
        said = _said(content)
    except msgspec.ValidationError:
        return None
    return said.uuid if said.type == "assistant" else None


def asked_limits(stored: StoredSession) -> AskedLimits | None:
    """What the session asked for when it was created."""
    limits = stored.settings.limits
    return None if limits is None else msgspec.convert(limits, AskedLimits)


def opening(agent: StoredAgent, stored: StoredSession) -> Open:
    """What the engine must be opened with for this session."""
    return Open(**_settings(agent, stored))


def resuming(agent: StoredAgent, stored: StoredSession) -> Resume:
    """The same, to go on with the conversation that is on its disk."""
    return Resume(**_settings(agent, stored), fork=_branches(stored) or None)


def _branches(stored: StoredSession) -> list[Branch]:
    return msgspec.convert(stored.settings.fork or [], list[Branch])


def _settings(agent: StoredAgent, stored: StoredSession) -> dict[str, Any]:
    config = stored.session.config or {}
    return {
        "session_id": stored.session.id,
        "model": stored.session.model or agent.agent.model or None,
        "system_prompt": stored.settings.system_prompt,
        "mcp_servers": stored.settings.mcp_servers,
        "permission_mode": stored.settings.permission_mode,
        "env": stored.settings.extra_env or None,
        **{name: config.get(key) for name, key in CONFIG.items()},
    }


def fill_in(query: Query, session: Session) -> None:
    """What the message leaves open is as the session has it."""
    query.model = query.model or session.model
    for name, key in CONFIG.items():
        setattr(query, name, (session.config or {}).get(key))
