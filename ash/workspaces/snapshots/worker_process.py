"""Runs packing and unpacking in a process of its own.

In a thread, this work would compete with the event loop for Python's interpreter lock, and a
thread of low priority would hold the lock even longer.
"""

import os
import subprocess
import sys
import time
from threading import Thread

import msgspec
import trio

from ash.workspaces.snapshots.jobs import (
    JobBroken,
    JobDone,
    JobRefused,
    Pack,
    Unpack,
    decode_answer,
    decode_job,
    encode,
    run_job,
)

# With -P, as for the bridge: a module in the current folder can't replace one of ours.
ARGV = (sys.executable, "-P", "-m", "ash.workspaces.snapshots.worker_process")

# How often the process looks whether its parent still lives. PR_SET_PDEATHSIG would not do: the
# kernel sends it when the thread that started the process ends, and ours is short-lived.
PARENT_CHECK_SECONDS = 0.2


async def run_in_worker(job: Pack | Unpack) -> JobDone | JobRefused | JobBroken:
    """Runs the job. Cancelling kills the process; the caller removes what it has written."""
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


def main() -> None:
    """Reads one job from stdin and writes its answer to stdout.

    The argument is the id of the process that wants the answer; this process exits with it.
    """
    Thread(target=_exit_with_parent, args=[int(sys.argv[1])], daemon=True).start()
    job = decode_job(sys.stdin.buffer.read())
    if isinstance(job, Pack):
        # Nobody waits for a pack, so it gets the lowest priority.
        os.nice(19)
    sys.stdout.buffer.write(encode(run_job(job)))


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
