"""Which sandboxes are to be kept warm."""

from collections import Counter
from collections.abc import Iterable

import trio
from msgspec import Struct

from ash.protocol import Open
from ash.sandbox.sandbox import PoolKey, SandboxSpec

# An unused sandbox that dies by itself sooner after its boot would do so again and again.
LEAST_LIFE = 60.0


class WarmTarget(Struct):
    """`count` sandboxes of the latest version of an agent are to be kept warm."""

    spec: SandboxSpec
    settings: Open
    count: int
    asked_at: float


class WarmTargets:
    """At most one target for each agent."""

    def __init__(self) -> None:
        self._targets: dict[tuple[str, str], WarmTarget] = {}

    def set(self, spec: SandboxSpec, settings: Open, count: int) -> bool:
        """Returns False, and changes nothing, if a later version of the agent is known."""
        key = spec.key
        known = self._targets.get((key.tenant, key.agent))
        if known is not None and known.spec.key.version > key.version:
            return False
        target = WarmTarget(spec, settings, count, trio.current_time())
        self._targets[key.tenant, key.agent] = target
        return True

    def remove(self, tenant: str, agent: str) -> None:
        self._targets.pop((tenant, agent), None)

    def clear(self) -> None:
        self._targets.clear()

    def next_lacking(self, warm: Iterable[PoolKey]) -> WarmTarget | None:
        """A target that is not met by what is `warm`: that of the agent asked for last."""
        have = Counter(warm)
        lacking = [each for each in self._targets.values() if have[each.spec.key] < each.count]
        return max(lacking, key=lambda target: target.asked_at, default=None)

    def sandbox_failed(self, key: PoolKey, lived: float) -> None:
        """Keeps none of that kind warm until it is asked for again, if it lived too short."""
        target = self._targets.get((key.tenant, key.agent))
        if target is not None and target.spec.key == key and lived < LEAST_LIFE:
            target.count = 0
