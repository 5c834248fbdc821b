"""Checks folders that are deployed, and says what becomes of the findings."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import trio
from msgspec import Struct

from ash.egress import PUBLIC, Policy, cap, unreachable
from ash.errors import BadRequest
from ash.folder_check import Finding, Surroundings, check_folder

# Faults of so many versions are remembered, so that a session starts without a new check.
_REMEMBERED = 1000


class FolderCheck(Struct):
    """The answer of a check that deploys nothing. `ok`: a deploy would accept the folder."""

    ok: bool
    findings: list[Finding]


class FolderChecks:
    """The checks of one server, whose `network` no agent exceeds."""

    def __init__(self, network: Policy = PUBLIC) -> None:
        self._network = network
        self._faults: dict[str, list[str]] = {}

    async def check(self, folder: Path, env: Mapping[str, str], network: Policy) -> list[Finding]:
        """The findings in an agent's folder. `network` is what its config asks for."""
        policy = cap(network, self._network)
        around = Surroundings(env=env, unreachable=partial(unreachable, policy=policy))
        return await trio.to_thread.run_sync(check_folder, folder, around)

    async def faults(self, source: str) -> list[str]:
        """What was wrong with a version that was deployed all the same; nothing if it was fine."""
        if source not in self._faults:
            found = await trio.to_thread.run_sync(check_folder, Path(source), Surroundings())
            self.remember(source, found)
        return self._faults[source]

    def remember(self, source: str, found: Sequence[Finding]) -> None:
        """Keeps the findings of a version that has errors, for its sessions."""
        while len(self._faults) >= _REMEMBERED:
            del self._faults[next(iter(self._faults))]
        self._faults[source] = [str(each) for each in found] if _errors(found) else []


def judge(found: Sequence[Finding], *, force: bool, strict: bool) -> list[str]:
    """The findings as warnings of a deploy that goes on. Raises BadRequest if it must not."""
    if bad := [] if force else [*found] if strict else _errors(found):
        more = f" There are {len(bad)} in all." if len(bad) > 1 else ""
        what = (
            "strict makes warnings errors"
            if bad[0].severity == "warning"
            else "force deploys it all the same"
        )
        raise BadRequest(f"{bad[0]} ({what}).{more}")
    return [str(each) for each in found]


def verdict(found: Iterable[Finding], left_out: Sequence[str], *, strict: bool) -> FolderCheck:
    """Also has the files that were left out, each a text of the form `path: why`."""
    findings = [*found, *map(_left_out, left_out)]
    return FolderCheck(not (findings if strict else _errors(findings)), findings)


def _left_out(text: str) -> Finding:
    path, _, why = text.partition(": ")
    return Finding(severity="warning", path=path, message=why)


def _errors(found: Sequence[Finding]) -> list[Finding]:
    return [each for each in found if each.severity == "error"]
