"""Has a caged process that stays, prints its id, and waits to be killed.

The data directory is argv[1]. With a second argument it is told apart from a daemon by that
it ends well when its stdin does.
"""

import sys
from pathlib import Path
from subprocess import PIPE

import trio

from ash.sandbox.limits import Limits, open_cages

STAYS = "trap '' TERM HUP INT; echo $$; exec sleep 1000"


async def main():
    async with open_cages(Path(sys.argv[1])) as cages, cages.open(Limits()) as cage:
        process = await trio.lowlevel.open_process(
            [*cage.enter, "/bin/sh", "-c", STAYS], stdout=PIPE, start_new_session=True
        )
        sys.stdout.write((await process.stdout.receive_some(100)).decode())
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read)


trio.run(main)
