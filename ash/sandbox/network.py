"""What a sandbox may reach: its agent's policy, opened for the tool servers of its session."""

from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ash.egress import Egress, Policy, not_expanded, with_own, with_servers
from ash.model import LogSink
from ash.sandbox.boot import EngineLaunch
from ash.sandbox.environment import own_credentials, own_part
from ash.sandbox.sandbox_process import Runtime


class SandboxNetwork:
    """Owns the `egress` of a sandbox. `env` is what every process in the sandbox gets."""

    def __init__(
        self, runtime: Runtime, policy: Policy, env: Mapping[str, str], log: LogSink
    ) -> None:
        self.egress = Egress(policy, runtime.upstream, log, places=runtime.places)
        self._runtime = runtime
        self._policy = policy
        self._env = env
        self._deployed: Any = None

    def read_servers(self, source: Path) -> None:
        """Takes the MCP servers that were deployed, not those that the agent itself writes down."""
        try:
            data = (source / ".mcp.json").read_bytes()
            deployed = msgspec.json.decode(data.removeprefix(BOM_UTF8))
        except (OSError, msgspec.DecodeError):
            return
        if isinstance(deployed, dict):
            self._deployed = deployed.get("mcpServers")

    def open_for(self, settings: EngineLaunch) -> None:
        """Sets the hosts that the proxy lets through, and the key that it adds."""
        env, policy = self._engine_env(settings), self._policy
        for servers in (self._deployed, settings.mcp_servers):
            policy = with_servers(policy, servers, env)
        own, upstream = own_credentials(self._env, settings.extra_env), self._runtime.upstream
        self.egress.policy = policy
        self.egress.headers = with_own(upstream.custom, own) if own else upstream.headers

    def unreachable(self, settings: EngineLaunch) -> list[str]:
        """A line for each MCP server whose address can't be known, and so is not opened."""
        env = self._engine_env(settings)
        both = (self._deployed, settings.mcp_servers)
        return [line for servers in both for line in not_expanded(servers, env)]

    def _engine_env(self, settings: EngineLaunch) -> dict[str, str]:
        """The variables with which the CLI expands the URLs of MCP servers."""
        return {**own_part({**self._env, **settings.extra_env}), **self._runtime.environment}
