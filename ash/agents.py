"""Deploys agents. A deploy copies the folder, so later changes of it don't affect the agent."""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec
import trio
from msgspec import Meta, Struct

from ash.agent_files.arrival import Arrival, take_folder, take_sent
from ash.agent_files.env_file import ENV_FILE
from ash.agent_files.sent_files import SentFile
from ash.clock import Clock, now_iso
from ash.data_dir import AGENTS, FOLDERS
from ash.deploy_check import check, judge, verdict
from ash.egress import PUBLIC, Policy
from ash.egress import cap as cap_network
from ash.egress import parse as parse_network
from ash.errors import BadRequest, NotFound
from ash.file_names import spelled, unspelled
from ash.folder_check import PROMPT_FILE
from ash.limits import FreeSpace
from ash.log import get_logger
from ash.model import Agent, Finding, FolderCheck, StoredAgent
from ash.sandbox.trial import Trial
from ash.shapes import AskedLimits
from ash.store import Store
from ash.workspaces.copy import remove_tree
from ash.workspaces.disk_errors import disk_in_words

log = get_logger()

# `systemPrompt` of a config has this value to ask for Claude Code's own prompt.
CLAUDE_CODE = "claude-code"


class AgentConfig(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """The fields of an agent's `config` that the daemon uses; others are the owner's own."""

    limits: AskedLimits | None = None
    network: str | list[str] = "public"
    pre_warm_count: Annotated[int, Meta(ge=0, le=100)] | None = None
    system_prompt: str | None = None

    @property
    def preset(self) -> bool:
        """Whether Claude Code's own system prompt is asked for, with CLAUDE.md as a memory."""
        return self.system_prompt == CLAUDE_CODE


class Deployment(Struct, kw_only=True):
    """The settings of a deploy; None leaves a setting as it was.

    A folder with errors is refused, unless by `force`; with `strict` warnings count as errors.
    `warnings` are those of the request itself, such as a field that has no effect.
    """

    env: dict[str, str] | None = None
    config: dict[str, Any] | None = None
    force: bool = False
    strict: bool = False
    warnings: list[str] = []


class _Examined(NamedTuple):
    """A copy that was filled: what the agent would have, and what there is to say about it.

    `given_env` is None if the deploy keeps the environment as it was.
    """

    previous: StoredAgent | None
    given_env: dict[str, str] | None
    env: dict[str, str]
    network: Policy
    found: list[Finding]
    warnings: list[str]


def agent_config(stored: StoredAgent) -> AgentConfig:
    return msgspec.convert(stored.agent.config or {}, AgentConfig)


def agent_folder(data_dir: Path, tenant: str, name: str) -> Path:
    """The folder that holds the copies of an agent."""
    tenant_folder = quote(tenant, safe="").replace(".", "%2E")
    return data_dir / AGENTS / tenant_folder / name


class Agents:
    """Stores deployed versions below `<data>/agents`; each session works on its own copy."""

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        clock: Clock,
        on_deploy: Callable[[StoredAgent], None],
        on_delete: Callable[[str, str], None],
        *,
        network: Policy = PUBLIC,
        trial: Trial | None = None,
        disk_mb: int | None = None,
        space: FreeSpace | None = None,
    ) -> None:
        """`on_deploy` is called with the new version, `on_delete` with the tenant and name.

        `network` and `disk_mb` are what this server allows at most; a check tries in `trial` what
        can start. Nothing is copied if `space` is low.
        """
        self._disk_mb = disk_mb
        self._space = space
        self._store = store
        self._on_deploy = on_deploy
        self._on_delete = on_delete
        self._network = network
        self._trial = trial
        self._data_dir = data_dir.resolve()
        self._clock = clock
        self._locks: WeakValueDictionary[Path, trio.Lock] = WeakValueDictionary()

    async def deploy_path(self, tenant: str, name: str, path: str, settings: Deployment) -> Agent:
        """Deploys a folder of this machine; a relative path starts at the data directory."""
        source = await trio.to_thread.run_sync(self._resolve, path)
        fill = partial(take_folder, source, most_mb=self._disk_mb)
        return await self._deploy(tenant, name, spelled(str(source)), fill, settings)

    async def deploy_files(
        self, tenant: str, name: str, files: Sequence[SentFile], settings: Deployment
    ) -> Agent:
        """Deploys files. Raises BadRequest for a path that leads out."""
        fill = partial(take_sent, files, most_mb=self._disk_mb)
        return await self._deploy(tenant, name, None, fill, settings)

    async def check_path(
        self, tenant: str, name: str, path: str, settings: Deployment
    ) -> FolderCheck:
        """What `deploy_path` would say; nothing is deployed."""
        source = await trio.to_thread.run_sync(self._resolve, path)
        fill = partial(take_folder, source, most_mb=self._disk_mb)
        return await self._check(tenant, name, fill, settings)

    async def check_files(
        self, tenant: str, name: str, files: Sequence[SentFile], settings: Deployment
    ) -> FolderCheck:
        """What `deploy_files` would say; nothing is deployed."""
        fill = partial(take_sent, files, most_mb=self._disk_mb)
        return await self._check(tenant, name, fill, settings)

    async def get(self, tenant: str, name: str) -> Agent:
        stored = await self._store.agent(tenant, name)
        if stored is None:
            raise NotFound(f'There is no agent "{name}"')
        return stored.agent

    async def find(self, tenant: str) -> list[Agent]:
        return [stored.agent for stored in await self._store.agents(tenant)]

    async def delete(self, tenant: str, name: str) -> None:
        """Deletes the agent; its sessions go on with the version that they were made from."""
        folder = self._folder(tenant, name)
        async with self._lock(folder):
            stored = await self._store.delete_agent(tenant, name)
            if stored is None:
                raise NotFound(f'There is no agent "{name}"')
            log.info("agent.deleted", tenant=tenant, agent=name)
            self._on_delete(tenant, name)
            await self._drop_unused(tenant, name)

    async def _deploy(
        self,
        tenant: str,
        name: str,
        path: str | None,
        fill: Callable[[Path], Arrival],
        settings: Deployment,
    ) -> Agent:
        """Makes the copy before it stores the version, so an agent is never without its files."""
        folder = self._folder(tenant, name)
        copy = folder / str(uuid4())
        began = trio.current_time()
        async with self._lock(folder):
            try:
                examined = await self._examine(tenant, name, copy, fill, settings)
                warnings = judge(
                    examined.found,
                    examined.warnings,
                    force=settings.force,
                    strict=settings.strict,
                )
                # Shielded: a cancelled write may still be committed, and then the copy must stay.
                with trio.CancelScope(shield=True):
                    stored = await self._store.deploy_agent(
                        tenant,
                        name,
                        path=path or str(copy),
                        source=str(copy),
                        env=examined.given_env,
                        config=settings.config,
                        now=now_iso(self._clock),
                    )
            except BaseException:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(_take_back, copy)
                raise
            self._on_deploy(stored)
            # The previous copy stays: a session that is being created may still copy from it.
            previous = examined.previous
            await self._drop_unused(tenant, name, {Path(previous.source)} if previous else set())
        log.info(
            "agent.deployed",
            tenant=tenant,
            agent=name,
            version=stored.agent.version,
            warnings=len(warnings),
            seconds=round(trio.current_time() - began, 3),
        )
        return msgspec.structs.replace(stored.agent, warnings=warnings)

    async def _check(
        self,
        tenant: str,
        name: str,
        fill: Callable[[Path], Arrival],
        settings: Deployment,
    ) -> FolderCheck:
        # Agents' names have no dot, so no deploy removes the copy.
        copy = self._folder(tenant, f"{uuid4()}.check") / "copy"
        tried = self._trial is not None
        try:
            examined = await self._examine(tenant, name, copy, fill, settings, tried=tried)
            found = examined.found
            if self._trial is not None:
                found += await self._trial.run(copy, examined.env, examined.network)
            return verdict(found, examined.warnings, strict=settings.strict)
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_take_back, copy)

    async def _examine(
        self,
        tenant: str,
        name: str,
        copy: Path,
        fill: Callable[[Path], Arrival],
        settings: Deployment,
        *,
        tried: bool = False,
    ) -> _Examined:
        """Fills the copy and checks it. `tried`: its MCP servers will be started."""
        if self._space is not None:
            self._space.check()
        previous = await self._store.agent(tenant, name)
        arrival = await trio.to_thread.run_sync(_fill, copy, fill)
        given_env = _env(arrival, settings)
        env, network = self._kept(previous, given_env, settings)
        warnings = [*settings.warnings, *arrival.warnings]
        if previous and settings.env is None:
            warnings += _lost(previous.env, env)
        found = await check(copy, env, network, tried=tried)
        return _Examined(previous, given_env, env, network, found, warnings)

    def _kept(
        self, previous: StoredAgent | None, env: dict[str, str] | None, settings: Deployment
    ) -> tuple[dict[str, str], Policy]:
        """The environment and the network that the agent would have."""
        config = settings.config
        if previous is not None:
            env = previous.env if env is None else env
            config = previous.agent.config or {} if config is None else config
        asked = parse_network(msgspec.convert(config or {}, AgentConfig).network)
        return env or {}, cap_network(asked, self._network)

    async def _drop_unused(
        self, tenant: str, name: str, more: AbstractSet[Path] = frozenset()
    ) -> None:
        """Removes the agent's copies but those that a session may need, and `more`."""
        kept = {Path(stored.source) for stored in await self._store.kept_deploys(tenant, name)}
        await trio.to_thread.run_sync(_drop_all_but, self._folder(tenant, name), kept | more)

    def _lock(self, folder: Path) -> trio.Lock:
        """The lock of one agent: each deploy removes older copies, so they must not overlap."""
        return self._locks.setdefault(folder, trio.Lock())

    def _folder(self, tenant: str, name: str) -> Path:
        return agent_folder(self._data_dir, tenant, name)

    def _resolve(self, path: str) -> Path:
        try:
            source = (self._data_dir / unspelled(path)).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            source = None
        if source is None or not source.is_dir():
            raise BadRequest(f'path: there is no folder "{path}" on the server')
        if not (source / PROMPT_FILE).is_file():
            raise BadRequest(f"path: {PROMPT_FILE} is missing in this folder; an agent needs it")
        # The server's own folders also hold what other tenants have deployed.
        own = (self._data_dir / name for name in FOLDERS)
        if self._data_dir.is_relative_to(source) or any(map(source.is_relative_to, own)):
            raise BadRequest("path: this folder holds the server's own data")
        return source


def _fill(copy: Path, fill: Callable[[Path], Arrival]) -> Arrival:
    with disk_in_words(own=True):
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with disk_in_words():
        return fill(copy)


def _env(arrival: Arrival, settings: Deployment) -> dict[str, str] | None:
    """The variables of the folder, and over them those of the request; None leaves the old ones."""
    if arrival.env is None:
        return settings.env
    return arrival.env | (settings.env or {})


def _lost(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Says which variables are gone because `.env` replaces all."""
    if names := ", ".join(sorted(before.keys() - now.keys())):
        return [f"{ENV_FILE}: the agent's env is now what is in it, without {names}"]
    return []


def _take_back(copy: Path) -> None:
    remove_tree(copy)
    with suppress(OSError):  # there are other copies
        copy.parent.rmdir()


def _drop_all_but(folder: Path, kept: AbstractSet[Path]) -> None:
    with suppress(FileNotFoundError):
        for copy in folder.iterdir():
            if copy not in kept:
                remove_tree(copy)
    with suppress(OSError):  # there are copies left
        folder.rmdir()
