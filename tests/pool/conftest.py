"""A pool whose sandboxes are the test's."""

import pytest
import trio

from ash.errors import Unavailable
from ash.pool.pool import Capacity, Pool
from ash.protocol import Open
from ash.sandbox.sandbox import PoolKey, SandboxDependencies, SandboxSpec
from ash.workspaces.workspaces import Workspaces
from tests.support.pool import NETWORK, SMALL, MemorySandboxRecords
from tests.support.sandbox import RUNTIME

PLAIN = Open(session_id="")


class Scene:
    """A pool, with sessions as far as it sees of them."""

    def __init__(self, tmp_path, maker, nursery):
        self.maker = maker
        self.records = MemorySandboxRecords()
        self.evicted = []
        self._data_dir = tmp_path / "data"
        self._workspaces = Workspaces(self._data_dir)
        self._source = tmp_path / "agent"
        self._nursery = nursery

    def open(self, sandboxes=10, warm=10, boots=10):
        dependencies = SandboxDependencies(RUNTIME, self._workspaces, 60, 60, self.maker.open)
        capacity = Capacity(sandboxes, warm, boots)
        self.pool = Pool(dependencies, self.records, self._nursery, capacity)
        self._nursery.start_soon(self.pool.run)
        return self.pool

    def spec(self, agent="a", version=1, tenant="default", limits=SMALL, *, restore=False):
        return SandboxSpec(
            key=PoolKey(tenant, agent, version),
            source=self._source,
            env={},
            limits=limits,
            network=NETWORK,
            restore=restore,
        )

    def keep_warm(self, agent="a", version=1, count=1):
        self.pool.keep_warm(self.spec(agent, version), PLAIN, count)

    async def claim(self, agent="a", **more):
        """As a session does it: a sandbox that is booted, and waits for its first turn."""
        return await self._boot(await self.pool.claim(self.spec(agent, **more)))

    async def claim_again(self, sandbox_id, agent="a"):
        """As a session does it that is resumed, with what was kept of it."""
        return await self._boot(
            await self.pool.claim_again(sandbox_id, self.spec(agent, restore=True))
        )

    async def _boot(self, sandbox):
        await self.pool.boot(sandbox, PLAIN)
        if sandbox.failure is None:
            self.settle(sandbox)
        return sandbox

    async def refused(self, agent="b"):
        with pytest.raises(Unavailable) as raised:
            await self.pool.claim(self.spec(agent))
        return raised.value

    def settle(self, sandbox, *, lets_go=True):
        async def evict():
            assert "waiting" == sandbox.state
            if not lets_go:
                return False
            self.evicted.append(sandbox)
            sandbox.close()
            await sandbox.gone.wait()
            return True

        sandbox.activate(evict)

    def keep_busy(self, sandbox):
        """It works until the event is set that is returned."""
        work = trio.Event()
        sandbox.start(work.wait)
        return work

    @property
    def counts(self):
        """How many warm, then how many waiting, then how many in all that live."""
        stats = self.pool.stats()
        return stats.warm, stats.waiting, stats.total - stats.cold

    @property
    def kept(self):
        """Of how many sandboxes the files are kept."""
        return len(list(self._data_dir.glob("sessions/*/workspace")))

    @property
    def agents(self):
        """Whose sandboxes there are, in the order they were made."""
        return [sandbox.key.agent for sandbox in self.sandboxes]

    @property
    def versions(self):
        return [sandbox.key.version for sandbox in self.sandboxes]

    @property
    def ids(self):
        return [sandbox.id for sandbox in self.sandboxes]

    @property
    def sandboxes(self):
        """Those that there are, in the order they were made."""
        return self.pool.statistics().sandboxes


@pytest.fixture
def scene(tmp_path, maker, nursery, inline_threads):
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "CLAUDE.md").touch()
    return Scene(tmp_path, maker, nursery)
