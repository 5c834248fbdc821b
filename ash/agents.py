"""Deploys agents. A deploy copies the folder, so later changes of it don't affect the agent."""

import errno
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote
from uuid import uuid4
from weakref import WeakValueDictionary

import msgspec
import trio
from msgspec import Meta, Struct

from ash.clock import Clock, now_iso
from ash.data_dir import AGENTS, FOLDERS
from ash.errors import BadRequest, NotFound
from ash.model import Agent, StoredAgent
from ash.shapes import AskedLimits
from ash.store import Store
from ash.workspaces.copy import copy_tree, remove_tree
from ash.workspaces.copy_program import MAX_DEPTH
from ash.workspaces.disk_errors import disk_in_words

PROMPT_FILE = "CLAUDE.md"
# What an agent's config says instead of the CLAUDE.md that is its system prompt.
CLAUDE_CODE = "claude-code"

# Errors of the disk that the caller's paths cause, such as a file where a folder should be.
_CALLERS_FAULT = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}


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
    """The settings of a deploy; None leaves a setting as it was."""

    env: dict[str, str] | None = None
    config: dict[str, Any] | None = None


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
    ) -> None:
        """`on_deploy` is called with the new version, `on_delete` with the tenant and name."""
        self._store = store
        self._on_deploy = on_deploy
        self._on_delete = on_delete
        self._data_dir = data_dir.resolve()
        self._clock = clock
        self._locks: WeakValueDictionary[Path, trio.Lock] = WeakValueDictionary()

    async def deploy_path(self, tenant: str, name: str, path: str, settings: Deployment) -> Agent:
        """Deploys a folder of this machine; a relative path starts at the data directory."""
        source = await trio.to_thread.run_sync(self._resolve, path)
        return await self._deploy(
            tenant, name, str(source), lambda to: copy_tree(source, to), settings
        )

    async def deploy_files(
        self, tenant: str, name: str, files: Mapping[str, bytes], settings: Deployment
    ) -> Agent:
        """Deploys files, given by relative path. Raises BadRequest for a path that leads out."""
        checked = {_relative(path): content for path, content in files.items()}
        if PurePosixPath(PROMPT_FILE) not in checked:
            raise BadRequest(f"files: {PROMPT_FILE} is missing, an agent is told there what it is")
        return await self._deploy(tenant, name, None, partial(_write, checked), settings)

    async def get(self, tenant: str, name: str) -> Agent:
        stored = await self._store.agent(tenant, name)
        if stored is None:
            raise NotFound(f'There is no agent "{name}"')
        return stored.agent

    async def find(self, tenant: str) -> list[Agent]:
        return [stored.agent for stored in await self._store.agents(tenant)]

    async def delete(self, tenant: str, name: str) -> None:
        """Deletes the agent and its files; running sessions keep their own copies."""
        folder = self._folder(tenant, name)
        async with self._lock(folder):
            stored = await self._store.delete_agent(tenant, name)
            if stored is None:
                raise NotFound(f'There is no agent "{name}"')
            self._on_delete(tenant, name)
            await trio.to_thread.run_sync(remove_tree, folder)

    async def _deploy(
        self,
        tenant: str,
        name: str,
        path: str | None,
        fill: Callable[[Path], None],
        settings: Deployment,
    ) -> Agent:
        """Makes the copy before it stores the version, so an agent is never without its files."""
        folder = self._folder(tenant, name)
        copy = folder / str(uuid4())
        async with self._lock(folder):
            previous = await self._store.agent(tenant, name)
            try:
                await trio.to_thread.run_sync(_fill, copy, fill)
                # Shielded: a cancelled write may still be committed, and then the copy must stay.
                with trio.CancelScope(shield=True):
                    stored = await self._store.deploy_agent(
                        tenant,
                        name,
                        path=path or str(copy),
                        source=str(copy),
                        env=settings.env,
                        config=settings.config,
                        now=now_iso(self._clock),
                    )
            except BaseException:
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(_take_back, copy)
                raise
            self._on_deploy(stored)
            # The previous copy stays: a session that is being created may still copy from it.
            kept = {copy, Path(previous.source) if previous else copy}
            await trio.to_thread.run_sync(_drop_all_but, folder, kept)
        return stored.agent

    def _lock(self, folder: Path) -> trio.Lock:
        """The lock of one agent: each deploy removes older copies, so they must not overlap."""
        return self._locks.setdefault(folder, trio.Lock())

    def _folder(self, tenant: str, name: str) -> Path:
        return agent_folder(self._data_dir, tenant, name)

    def _resolve(self, path: str) -> Path:
        try:
            source = (self._data_dir / path).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            source = None
        if source is None or not source.is_dir():
            raise BadRequest(f'path: there is no folder "{path}" on the server')
        if not (source / PROMPT_FILE).is_file():
            raise BadRequest(f"path: {PROMPT_FILE} is missing in it, which makes a folder an agent")
        # The server's own folders also hold what other tenants have deployed.
        own = (self._data_dir / name for name in FOLDERS)
        if self._data_dir.is_relative_to(source) or any(map(source.is_relative_to, own)):
            raise BadRequest("path: this folder holds the server's own data")
        return source


def _fill(copy: Path, fill: Callable[[Path], None]) -> None:
    with disk_in_words(own=True):
        copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with disk_in_words():
        fill(copy)


def _take_back(copy: Path) -> None:
    remove_tree(copy)
    with suppress(OSError):  # there are other copies
        copy.parent.rmdir()


def _drop_all_but(folder: Path, kept: set[Path]) -> None:
    for copy in folder.iterdir():
        if copy not in kept:
            remove_tree(copy)


def _write(files: Mapping[PurePosixPath, bytes], copy: Path) -> None:
    copy.mkdir()
    for path, content in files.items():
        target = copy / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            if error.errno not in _CALLERS_FAULT:
                raise
            raise BadRequest(f'files: "{path}" can\'t be made: {error.strerror}') from None


def _relative(path: str) -> PurePosixPath:
    """The path, if it stays inside. The target folder is new, so no link can lead out of it."""
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise BadRequest(f'files: the path "{path}" does not stay in the agent\'s folder')
    if len(pure.parts) > MAX_DEPTH:
        raise BadRequest(f"files: a path is deeper than {MAX_DEPTH} folders")
    return pure
