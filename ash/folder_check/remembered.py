"""The faults of a version of an agent that was deployed by force."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ash.folder_check.check import check_folder
from ash.folder_check.finding import errors
from ash.folder_check.surroundings import Surroundings


def deployed_faults(source: Path, env: Mapping[str, str]) -> list[str]:
    """What was found in the folder, if there is an error; else it needed no force. Blocks.

    It is remembered, because a deployed version does not change and many sandboxes are made of it.
    """
    return list(_faults(source, tuple(env.items())))


@lru_cache(maxsize=1000)
def _faults(source: Path, env: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    found = check_folder(source, Surroundings(env=dict(env)))
    return tuple(map(str, found)) if errors(found) else ()
