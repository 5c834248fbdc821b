"""Refuses what would exceed a disk limit, before it begins. All functions block: use a thread."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

from ash.errors import InsufficientStorage, TooLarge
from ash.limits.amounts import MB
from ash.limits.disk_sweep import SLICE
from ash.limits.disk_usage import TooDeep, entry_sizes
from ash.workspaces.copy_program import MAX_DEPTH

# What a small file takes on most disks.
_BLOCK = 4096


def _go_on() -> None:
    return None


def add_up(sizes: Generator[int], most: int, check: Callable[[], object] = _go_on) -> int:
    """The sum of the sizes, or of the first ones if these exceed `most`.

    Pauses after each slice for as long as that took, as the event loop needs the interpreter, too.
    `check` is called then, and may raise.
    """
    total = 0
    with closing(sizes):
        while True:
            begun = time.monotonic()
            some = list(islice(sizes, SLICE))
            total += sum(some)
            if len(some) < SLICE or total > most:
                return total
            check()
            time.sleep(time.monotonic() - begun)


def check_kept(folders: Sequence[Path], limit_mb: int) -> None:
    """Raises InsufficientStorage for kept files with which the sandbox would be ended at once."""
    try:
        used = add_up(_each(folders), limit_mb * MB)
    except TooDeep:
        raise InsufficientStorage(
            f"The session's folders are nested more than {MAX_DEPTH} deep, which no sandbox may"
            " have: end the session (DELETE /api/sessions/:id)"
        ) from None
    if used > limit_mb * MB:
        raise InsufficientStorage(
            f"The session's files take more than its disk limit of {limit_mb} MB: delete some"
            " (DELETE /api/sessions/:id/files/*path, which needs no sandbox), or end the session"
            " (DELETE /api/sessions/:id)"
        )


def is_over(folders: Sequence[Path], limit_mb: int) -> bool:
    """Whether no sandbox could go on with these folders."""
    try:
        check_kept(folders, limit_mb)
    except InsufficientStorage:
        return True
    return False


def check_upload(
    folders: Sequence[Path],
    limit_mb: int,
    sizes: Sequence[int],
    replaced: int,
    check: Callable[[], object] = _go_on,
) -> None:
    """Raises TooLarge if files of these sizes are too much; they replace `replaced` bytes."""
    new = sum(-(-size // _BLOCK) * _BLOCK for size in sizes)
    if new <= replaced:
        return
    try:
        used = add_up(_each(folders), limit_mb * MB + replaced, check)
    except TooDeep:
        # What is nested so deeply is told by the sweep, and by the next resume.
        return
    if used + new - replaced > limit_mb * MB:
        raise TooLarge(
            f"The session's disk limit is {limit_mb} MB, its files take"
            f" {_in_mb(used)}, and these would take {_in_mb(new)}: delete some first"
        )


def check_agent(source: Path, limit_mb: int) -> None:
    """Raises InsufficientStorage if an agent's files leave no room in a sandbox."""
    try:
        used = add_up(_each([source]), limit_mb * MB)
    except TooDeep:
        return
    if used > limit_mb * MB:
        raise InsufficientStorage(
            f"The agent's files take more than the disk limit of {limit_mb} MB: ask for a larger"
            " one (limits.diskMb), or deploy fewer files (.ashignore)"
        )


def _each(folders: Sequence[Path]) -> Generator[int]:
    yield from entry_sizes(folders)


def _in_mb(size: int) -> str:
    return f"{size / MB:.1f} MB"
