from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ash.client.calls.fields import given
from ash.embedded.root import TENANT, Calls, call
from ash.model import Session, SessionStatus
from ash.requests.parsing import decode, encode, session_page
from ash.requests.sessions import (
    ConfigureSession,
    CreateSession,
    ForkSession,
    fork_when_busy,
    new_config,
    new_session,
)

_create = msgspec.json.Decoder(CreateSession)
_configure = msgspec.json.Decoder(ConfigureSession)
_fork = msgspec.json.Decoder(ForkSession)


class SessionCalls(Calls):
    """The life cycle of sessions."""

    @call
    async def create_session(
        self,
        agent: str,
        *,
        model: str | None = None,
        system_prompt: str | None = None,
        mcp_servers: Mapping[str, Any] | None = None,
        permission_mode: str | None = None,
        extra_env: Mapping[str, str] | None = None,
        allowed_tools: Sequence[str] | None = None,
        disallowed_tools: Sequence[str] | None = None,
        betas: Sequence[str] | None = None,
        subagents: Mapping[str, Any] | None = None,
        initial_agent: str | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> Session:
        """A session that is ready for its first message."""
        body = given(
            agent=agent,
            model=model,
            systemPrompt=system_prompt,
            mcpServers=mcp_servers,
            permissionMode=permission_mode,
            extraEnv=extra_env,
            allowedTools=allowed_tools,
            disallowedTools=disallowed_tools,
            betas=betas,
            subagents=subagents,
            initialAgent=initial_agent,
            limits=limits,
        )
        wanted = new_session(decode(encode(body), _create))
        return _shown(await self._core.sessions.create(TENANT, wanted))

    @call
    async def get_session(self, session_id: str) -> Session:
        return _shown(await self._core.sessions.get(TENANT, session_id))

    @call
    async def list_sessions(
        self,
        *,
        agent: str | None = None,
        status: SessionStatus | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[Session]:
        """Newest first; 100 if no limit is given."""
        asked = given(agent=agent, status=status, limit=limit, offset=offset)
        found, _ = await self._core.sessions.find(TENANT, **session_page(asked.get))
        return found

    @call
    async def pause_session(self, session_id: str) -> Session:
        """Ends its turn; it keeps its sandbox while there is room."""
        return _shown(await self._core.sessions.pause(TENANT, session_id))

    @call
    async def resume_session(self, session_id: str) -> Session:
        """Goes on with one that was paused or stopped, or that broke."""
        return _shown(await self._core.sessions.resume(TENANT, session_id))

    @call
    async def stop_session(self, session_id: str) -> Session:
        """Ends its turn and its sandbox; its files are kept and it can be resumed."""
        return _shown(await self._core.sessions.stop(TENANT, session_id))

    @call
    async def fork_session(
        self,
        session_id: str,
        after_sequence: int | None = None,
        *,
        when_busy: Literal["queue", "interrupt"] | None = None,
    ) -> Session:
        """A new session, paused, that branches off behind that message, else behind the last turn.

        A turn that runs is not in it, unless `when_busy` waits for its end or ends it.
        """
        after = decode(encode(given(afterSequence=after_sequence)), _fork).after_sequence
        busy = fork_when_busy(given(whenBusy=when_busy).get)
        return _shown(await self._core.sessions.fork(TENANT, session_id, after, busy))

    @call
    async def end_session(self, session_id: str) -> Session:
        """For good."""
        return _shown(await self._core.sessions.end(TENANT, session_id))

    @call
    async def interrupt_session(self, session_id: str) -> bool:
        """Ends the running turn and keeps the session; whether there was one."""
        return await self._core.sessions.interrupt(TENANT, session_id)

    @call
    async def configure_session(
        self,
        session_id: str,
        *,
        model: str | UnsetType | None = UNSET,
        allowed_tools: Sequence[str] | UnsetType | None = UNSET,
        disallowed_tools: Sequence[str] | UnsetType | None = UNSET,
        betas: Sequence[str] | UnsetType | None = UNSET,
        subagents: Mapping[str, Any] | UnsetType | None = UNSET,
        initial_agent: str | UnsetType | None = UNSET,
    ) -> Session:
        """From the next message on. None takes a setting back; what is left out stays."""
        settings = {
            "model": model,
            "allowedTools": allowed_tools,
            "disallowedTools": disallowed_tools,
            "betas": betas,
            "subagents": subagents,
            "initialAgent": initial_agent,
        }
        body = {name: value for name, value in settings.items() if value is not UNSET}
        wanted = decode(encode(body), _configure)
        sessions = self._core.sessions
        return _shown(
            await sessions.configure(TENANT, session_id, wanted.model, new_config(wanted))
        )


def _shown(session: Session) -> Session:
    """The script's own: what it does to it changes nothing here."""
    return deepcopy(session)
