"""Turns errors of a disk that can't be written into errors that a client understands."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ash.errors import Unavailable
from ash.log import get_logger

log = get_logger()

# Not sooner, because a person has to repair the disk first.
RETRY_SECONDS = 30

_WHY = {
    errno.EROFS: "it is mounted read-only",
    errno.ENOSPC: "it is full",
    errno.EDQUOT: "its quota is used up",
    errno.EIO: "it is broken",
}
_RIGHTS = "the server may not write there"
_OWN = {**_WHY, errno.EACCES: _RIGHTS, errno.EPERM: _RIGHTS}


def disk_refusal(error: Exception, *, own: bool = False) -> Unavailable | None:
    """The error for a client, or None if the disk is not the cause. Only the log has the path.

    `own` says that the call touched only the server's own folders; then missing permissions
    count as the disk's fault too.
    """
    why = (_OWN if own else _WHY).get(error.errno or 0) if isinstance(error, OSError) else None
    if why is None:
        return None
    log.error("disk.refused", path=getattr(error, "filename", None), why=why)
    text = f"The server's data directory takes no writes: {why}. Try again when that is mended"
    return Unavailable(text, retry_after=RETRY_SECONDS)


@contextmanager
def disk_in_words(*, own: bool = False) -> Iterator[None]:
    """Raises Unavailable instead of an OSError that is the disk's fault."""
    try:
        yield
    except OSError as error:
        if refusal := disk_refusal(error, own=own):
            raise refusal from error
        raise
