"""Has a process in a group that stays, prints its id, and waits to be killed.

The data directory is argv[1]. With a second argument it is told apart from a daemon by that
it ends well when its stdin does.
"""

import sys
from pathlib import Path
from subprocess import PIPE

import trio

from ash.limits import Limits, open_resource_groups

STAYS = "trap '' TERM HUP INT; echo $$; exec sleep 1000"


async def main():
    async with open_resource_groups(Path(sys.argv[1])) as groups, groups.open(Limits()) as group:
        process = await trio.lowlevel.open_process(
            [*group.prefix, "/bin/sh", "-c", STAYS], stdout=PIPE, start_new_session=True
        )
        sys.stdout.write((await process.stdout.receive_some(100)).decode())
        sys.stdout.flush()
        await trio.to_thread.run_sync(sys.stdin.read)


trio.run(main)
