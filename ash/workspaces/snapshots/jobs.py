"""The jobs of the worker process, their answers, and `run_job`, which does them there."""

from pathlib import Path

import msgspec
from msgspec import Struct

from ash.workspaces.snapshots.pack import Packed, pack
from ash.workspaces.snapshots.unpack import Damaged, unpack
from ash.workspaces.snapshots.walk import REBUILDABLE, Unfit, listing


class Pack(Struct, tag=True, kw_only=True):
    """Packs the folders `tops` into `target`, unless their listing is still the `known` one.

    `lean` leaves out folders that can be rebuilt.
    """

    tops: dict[str, str]
    target: str
    lean: bool
    limit: int
    known: str | None


class Unpack(Struct, tag=True, kw_only=True):
    """Unpacks an archive into `target`, which then holds the folders `tops`."""

    archive: str
    target: str
    tops: list[str]
    limit: int


class JobDone(Struct, tag=True):
    """The job has succeeded. `packed` is None for an Unpack, and if nothing has changed."""

    packed: Packed | None = None


class JobRefused(Struct, tag=True):
    """The files or the archive make it impossible; another try would fail in the same way."""

    why: str


class JobBroken(Struct, tag=True):
    """The machine is the cause, such as a full disk; another try may succeed."""

    why: str


def run_job(job: Pack | Unpack) -> JobDone | JobRefused | JobBroken:
    """Does the job; expected failures are returned, not raised. Blocks, for long."""
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
