"""The import of the engine, which takes a second or longer."""

import threading

import trio

from bridge.engine_worker import EngineWorker


async def test_worker_that_is_cancelled_does_not_wait_for_the_import():
    """A bridge that has to end ends at once; its process takes the thread along."""
    begun, go_on, ended = trio.Event(), threading.Event(), []

    def load():
        trio.from_thread.run_sync(begun.set)
        ended.append(go_on.wait(1))

    worker = EngineWorker(load, None, None, None)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await begun.wait()
            nursery.cancel_scope.cancel()
        assert [] == ended
    finally:
        go_on.set()
