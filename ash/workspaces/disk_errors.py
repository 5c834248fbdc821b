"""What a disk says that takes no writes, in words for whoever asked for one."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ash.errors import Unavailable
from ash.log import get_logger

log = get_logger()

# A person has to see to it first.
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
    """None for what is not the disk's doing. The log names the path; what is raised does not.

    `own` says that only folders of the server itself were touched: a lack of rights is told
    as well then.
    """
    why = (_OWN if own else _WHY).get(error.errno or 0) if isinstance(error, OSError) else None
    if why is None:
        return None
    log.error("disk.refused", path=getattr(error, "filename", None), why=why)
    text = f"The server's data directory takes no writes: {why}. Try again when that is mended"
    return Unavailable(text, retry_after=RETRY_SECONDS)


@contextmanager
def disk_in_words(*, own: bool = False) -> Iterator[None]:
    """Raises Unavailable where the disk refuses."""
    try:
        yield
    except OSError as error:
        if refusal := disk_refusal(error, own=own):
            raise refusal from error
        raise
