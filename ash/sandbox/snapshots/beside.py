"""Runs the heavy part in a process of its own.

Not in a thread: compressing and walking would take turns with the event loop for the
interpreter, and a thread of low priority would hold it the longer for that.
"""

import os
import subprocess
import sys

import msgspec
import trio

from ash.sandbox.snapshots.work import (
    JobBroken,
    JobDone,
    JobRefused,
    Pack,
    Unpack,
    decode_answer,
    encode,
)

# As the bridge is started: no module of a current folder stands in for ours.
ARGV = (sys.executable, "-P", "-m", "ash.sandbox.snapshots")


async def run_in_worker(job: Pack | Unpack) -> JobDone | JobRefused | JobBroken:
    """The job's answer. Cancelling kills the process; what it wrote is the caller's to remove."""
    ended = await trio.run_process(
        [*ARGV, str(os.getpid())],
        stdin=encode(job),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        deliver_cancel=_kill,
    )
    try:
        answer: JobDone | JobRefused | JobBroken = decode_answer(ended.stdout)
    except msgspec.DecodeError:
        last = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        return JobBroken(f"the packer ended with {ended.returncode}: {last}")
    return answer


async def _kill(process: subprocess.Popen[bytes] | trio.Process) -> None:
    process.kill()
