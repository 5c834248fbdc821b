import os
import sys

from ash.sandbox.snapshots.work import Pack, decode_job, encode, work


def main() -> None:
    """One job, from the standard input; the answer goes to the standard output."""
    job = decode_job(sys.stdin.buffer.read())
    if isinstance(job, Pack):
        # Nobody waits for it.
        os.nice(19)
    sys.stdout.buffer.write(encode(work(job)))


if __name__ == "__main__":
    main()
