"""Runs the heavy part in a process of its own.

Not in a thread: compressing and walking would take turns with the event loop for the
interpreter, and a thread of low priority would hold it the longer for that.
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

# As the bridge is started: no module of a current folder stands in for ours.
ARGV = (sys.executable, "-P", "-m", "ash.workspaces.snapshots.worker_process")


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


# What a packer may still write when nobody wants it any more. Not a signal of the kernel's: it
# would come with the end of the thread that has started us, which is a short one.
LOOK_SECONDS = 0.2


def main() -> None:
    """One job, from the standard input; the answer goes to the standard output.

    Ends with the process that wants it, whose id is the argument.
    """
    Thread(target=_end_with, args=[int(sys.argv[1])], daemon=True).start()
    job = decode_job(sys.stdin.buffer.read())
    if isinstance(job, Pack):
        # Nobody waits for it.
        os.nice(19)
    sys.stdout.buffer.write(encode(run_job(job)))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
