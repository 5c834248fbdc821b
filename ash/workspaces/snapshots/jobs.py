"""What the process beside the daemon is told to do, and what it answers."""

from pathlib import Path

import msgspec
from msgspec import Struct

from ash.workspaces.snapshots.pack import Packed, pack
from ash.workspaces.snapshots.unpack import Damaged, unpack
from ash.workspaces.snapshots.walk import REBUILDABLE, Unfit, listing


class Pack(Struct, tag=True, kw_only=True):
    """Nothing is packed if the listing is still the `known` one."""

    tops: dict[str, str]
    target: str
    lean: bool
    limit: int
    known: str | None


class Unpack(Struct, tag=True, kw_only=True):
    archive: str
    target: str
    tops: list[str]
    limit: int


class JobDone(Struct, tag=True):
    """`packed` is None for what was unpacked, and for what has not changed."""

    packed: Packed | None = None


class JobRefused(Struct, tag=True):
    """The files or the archive are not fit for it: trying again changes nothing by itself."""

    why: str


class JobBroken(Struct, tag=True):
    """The machine is at fault: the disk is full, files are gone."""

    why: str


def run_job(job: Pack | Unpack) -> JobDone | JobRefused | JobBroken:
    """Blocks, for long. Raises nothing that can be foreseen."""
    try:
        if isinstance(job, Unpack):
            unpack(Path(job.archive), Path(job.target), job.tops, limit=job.limit)
            return JobDone()
        return JobDone(_packed(job))
    except (Unfit, Damaged) as error:
        return JobRefused(str(error))
    except FileNotFoundError:
        return JobRefused("the files are gone")
    except OSError as error:
        return JobBroken(error.strerror or type(error).__name__)


def _packed(job: Pack) -> Packed | None:
    left_out = REBUILDABLE if job.lean else frozenset[str]()
    if job.known is not None and listing(job.tops, left_out) == job.known:
        return None
    return pack(job.tops, Path(job.target), left_out=left_out, limit=job.limit)


decode_job = msgspec.json.Decoder(Pack | Unpack).decode
decode_answer = msgspec.json.Decoder(JobDone | JobRefused | JobBroken).decode
encode = msgspec.json.encode
