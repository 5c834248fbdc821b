"""Measures how long the event loop is busy without a pause: all others wait meanwhile."""

import gc
import time
from contextlib import contextmanager

import trio


class LoopSteps(trio.abc.Instrument):
    """Keeps the longest step of a task, in ms of CPU time: how busy the machine is does not count.

    The collection of garbage counts, too, but not of what there was before. `task` is the name of
    the task that took it.
    """

    def __init__(self):
        self.longest, self.task = 0.0, ""
        self._began = time.thread_time_ns()

    def before_task_step(self, task):
        self._began = time.thread_time_ns()

    def after_task_step(self, task):
        took = (time.thread_time_ns() - self._began) / 1e6
        if took > self.longest:
            self.longest, self.task = took, task.name


@contextmanager
def loop_steps():
    """The steps of the loop that runs this, as long as the block lasts."""
    # As the daemon does it before its loop starts.
    gc.collect()
    gc.freeze()
    steps = LoopSteps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)
        gc.unfreeze()
