"""What can be read of a pool without touching it."""

from msgspec import Struct

from ash.sandbox.sandbox import PoolKey, Sandbox, SandboxState


class SandboxStatistics(Struct, frozen=True):
    """One sandbox of the pool. `failed` says that it is of no use and about to be removed."""

    id: str
    key: PoolKey
    state: SandboxState
    claimed: bool
    closing: bool
    failed: bool


class PoolStatistics(Struct, frozen=True):
    """What the pool holds at this moment, oldest sandbox first.

    `claims_waiting` counts the claims that need room, also the one that evicts for itself.
    """

    sandboxes: tuple[SandboxStatistics, ...]
    boots_running: int
    boots_waiting: int
    claims_waiting: int


def statistics_of(sandbox: Sandbox) -> SandboxStatistics:
    return SandboxStatistics(
        id=sandbox.id,
        key=sandbox.spec.key,
        state=sandbox.state,
        claimed=sandbox.claimed,
        closing=sandbox.closing,
        failed=sandbox.failure is not None,
    )
