"""Checks a folder that is deployed, and says what becomes of the findings."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

from ash.egress import Policy, unreachable
from ash.errors import BadRequest
from ash.folder_check import Surroundings, check_folder, errors
from ash.model import Finding, FolderCheck


async def check(
    folder: Path, env: Mapping[str, str], network: Policy, *, tried: bool = False
) -> list[Finding]:
    """The findings in the folder of an agent with this environment and network.

    `tried`: its MCP servers will be started, so what they might lack is not guessed.
    """
    around = Surroundings(env=env, tried=tried, unreachable=partial(unreachable, policy=network))
    return await trio.to_thread.run_sync(check_folder, folder, around)


def judge(
    found: Sequence[Finding], warnings: Sequence[str], *, force: bool, strict: bool
) -> list[str]:
    """Returns all warnings of a deploy. Raises BadRequest if what was found refuses it.

    `warnings` are what else there is to say, such as which files were left out.
    """
    said = [*warnings, *map(str, found)]
    if force:
        return said
    if bad := errors(found):
        raise BadRequest(
            f"{bad[0]}{_more(bad)}. Nothing was deployed; `force` (--force) deploys it as it is."
        )
    if strict and said:
        raise BadRequest(f"{said[0]}{_more(said)}. Nothing was deployed: strict allows no warning.")
    return said


def _more(found: Sequence[object]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""


def verdict(found: Sequence[Finding], warnings: Sequence[str], *, strict: bool) -> FolderCheck:
    """`warnings` are what else a deploy would say, each of the form `path: what and why`."""
    return FolderCheck(not errors(found), [*found]).with_warnings(warnings, strict=strict)
