"""Derives what a session is made of: its row, its sandbox, the options of its engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import Struct, field, structs

from ash.agents import agent_config
from ash.egress import Policy
from ash.egress import cap as cap_network
from ash.egress import parse as parse_network
from ash.limits import Limits, cap
from ash.model import Agent, Session, SessionSettings, StoredAgent, StoredSession
from ash.protocol import Branch, Open, Query, Resume, is_uuid
from ash.sandbox.sandbox import PoolKey, SandboxSpec
from ash.session_options import API_NAMES, OPTIONS, EngineOptions, SessionOptions
from ash.sessions.remembered import NOTHING, Said
from ash.shapes import AskedLimits

# The options that a session's config shows, by their API names. The model stands beside it.
CONFIG = {
    name: API_NAMES[name]
    for name, option in OPTIONS.items()
    if option.kept == "config" and name != "model"
}
PRIVATE = [name for name, option in OPTIONS.items() if option.kept == "private"]


class ServerRules(Struct, frozen=True, kw_only=True):
    """The daemon's settings that hold for all sessions.

    No session gets more than `limits` and `network` allow. A session that is idle for
    `idle_timeout` seconds gives up its sandbox; 0 means never. What its agent does by itself keeps
    it from being idle for `background_limit` seconds. With `auto_resume` a message that does not
    say otherwise resumes its session.
    """

    permission_mode: str
    idle_timeout: float
    background_limit: float
    auto_resume: bool
    pre_warm: int
    limits: Limits
    network: Policy


class NewSession(Struct, kw_only=True):
    agent: str
    options: SessionOptions = field(default_factory=SessionOptions)


def sandbox_spec(
    rules: ServerRules,
    agent: StoredAgent,
    limits: Mapping[str, int] | None = None,
    *,
    restore: bool = False,
) -> SandboxSpec:
    """A sandbox for this agent, with the `limits` that its session asked for.

    With `restore` it gets the files that were kept of the session's last sandbox.
    """
    config = agent_config(agent)
    asked = None if limits is None else msgspec.convert(limits, AskedLimits)
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
    """The session's first row. `mode` is the permission mode of a session that asks for none."""
    options = wanted.options
    config = {key: value for name, key in CONFIG.items() if (value := getattr(options, name))}
    session = Session(
        id=session_id,
        tenant_id=agent.agent.tenant_id,
        agent_name=wanted.agent,
        sandbox_id=session_id,
        status="starting",
        created_at=now,
        last_active_at=now,
        model=options.model,
        config=config or None,
        agent_version=agent.agent.version,
    )
    settings = SessionSettings(**{name: getattr(options, name) for name in PRIVATE})
    settings.permission_mode = settings.permission_mode or mode
    return StoredSession(
        session=session,
        settings=settings,
        agent_version=agent.agent.version,
        agent_source=agent.source,
        owner=owner,
    )


def unknown_agent(stored: StoredSession) -> StoredAgent:
    """For a session whose agent was deleted, and of which nothing is kept.

    It has its own files. The network policy is gone, so no host but the model is open.
    """
    session = stored.session
    agent = Agent(
        id="",
        name=session.agent_name,
        tenant_id=session.tenant_id,
        version=stored.agent_version,
        path="",
        created_at=session.created_at,
        updated_at=session.created_at,
        config={"network": "model-only"},
    )
    return StoredAgent(agent=agent, source="/nonexistent")


def forked(
    parent: StoredSession, said: Said, *, whole: bool, owner: str, now: str
) -> StoredSession:
    """The row of a paused session that continues after messages of its parent.

    The agent has `said` the last of them. If these are not the `whole` conversation, the engine is
    told the last message to take over.
    """
    session = structs.replace(
        parent.session,
        id=(fork_id := str(uuid4())),
        sandbox_id=fork_id,
        parent_session_id=parent.session.id,
        status="paused",
        created_at=now,
        last_active_at=now,
    )
    branches = _branches_after(parent, said, whole=whole)
    settings = structs.replace(parent.settings, fork=msgspec.to_builtins(branches) or None)
    return StoredSession(
        session=session,
        settings=settings,
        agent_version=parent.agent_version,
        agent_source=parent.agent_source,
        owner=owner,
    )


def _branches_after(parent: StoredSession, said: Said, *, whole: bool) -> list[Branch]:
    """The conversations that may hold what the fork takes over, the likeliest first.

    The message itself names its conversation: after a `/clear` it may be an earlier one of the
    parent's, or that of a session of which the parent is a fork.
    """
    if said.cleared or not (whole or said.uuid):
        return []
    at = None if whole else said.uuid
    own = parent.conversation or parent.session.id
    named = dict.fromkeys(filter(None, (said.conversation, own)))
    branches = [Branch(session_id=conversation, at=at) for conversation in named]
    if parent.conversation is None:
        # The parent never had a turn, so its conversation is still the one that it goes on from.
        branches += [structs.replace(branch, at=at or branch.at) for branch in _branches(parent)]
    return branches


def configured(
    session: Session, changes: Mapping[str, Any]
) -> tuple[str | None, dict[str, Any] | None]:
    """The session's model and config after the changes, in which None takes an option back."""
    config = dict(session.config or {})
    config |= {key: changes[name] for name, key in CONFIG.items() if name in changes}
    kept = {key: value for key, value in config.items() if value is not None}
    return changes.get("model", session.model), kept or None


def opening(agent: StoredAgent, stored: StoredSession) -> Open:
    """The command that begins the session's conversation."""
    options = _engine_options(agent, stored)
    return Open(session_id=stored.session.id, **options, preset=agent_config(agent).preset)


def resuming(agent: StoredAgent, stored: StoredSession, said: Said = NOTHING) -> Resume:
    """The command that continues the conversation on the session's disk.

    `said` is the last that is stored of it.
    """
    began = is_uuid(stored.conversation)
    options = _engine_options(agent, stored)
    return Resume(
        session_id=stored.session.id,
        **options,
        preset=agent_config(agent).preset,
        conversation=stored.conversation if began else None,
        last=said.uuid,
        began=began and not said.cleared,
        fork=None if began else _branches(stored) or None,
    )


def _branches(stored: StoredSession) -> list[Branch]:
    return msgspec.convert(stored.settings.fork or [], list[Branch])


def _engine_options(agent: StoredAgent, stored: StoredSession) -> dict[str, Any]:
    settings, of_engine = stored.settings, EngineOptions.__struct_fields__
    return {
        **{name: getattr(settings, name) for name in PRIVATE if name in of_engine},
        **_configured(stored.session),
        "model": stored.session.model or agent.agent.model or None,
    }


def _configured(session: Session) -> dict[str, Any]:
    config = session.config or {}
    return {name: config[key] for name, key in CONFIG.items() if key in config}


def fill_in(query: Query, session: Session) -> None:
    """Gives the query the session's options where the message has none of its own."""
    query.model = query.model or session.model
    for name, value in _configured(session).items():
        if "turn" not in OPTIONS[name].at or getattr(query, name) is None:
            setattr(query, name, value)
