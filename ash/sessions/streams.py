"""The streams of this daemon's sessions, each the same for all who hold it."""

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from ash.sessions.stream import Stream


class _Held(Struct, eq=False):
    stream: Stream
    holders: int = 0


class Streams:
    """A session holds its stream while it lives here, a watcher while it watches.

    So a watcher stays when the session is paused, and follows when it is resumed. A stream that
    nobody holds is forgotten: what lasts of it is in the store.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._shut = False

    @contextmanager
    def to_publish(self, session_id: str, next_frame: int) -> Iterator[Stream]:
        """For the session itself; `next_frame` is the first id that the store has not given out.

        Goes on with the stream that watchers have, unless there are ids that it does not know:
        another has written, or a write was not told of. Those watchers have to come back.
        """
        held = self._held.get(session_id)
        if held is not None and next_frame > held.stream.reserved:
            held.stream.break_off()
        with self.to_watch(session_id, next_frame) as stream:
            yield stream

    @contextmanager
    def to_watch(self, session_id: str, next_frame: int) -> Iterator[Stream]:
        """For a watcher; `next_frame` counts only for a stream that nobody holds."""
        held = self._held.get(session_id)
        if held is None or held.stream.broken:
            held = self._held[session_id] = _Held(Stream(next_frame))
        if self._shut:
            held.stream.end()
        held.holders += 1
        try:
            yield held.stream
        finally:
            held.holders -= 1
            if not held.holders and self._held.get(session_id) is held:
                del self._held[session_id]

    def end(self, session_id: str) -> None:
        """The session is over: its watchers may go."""
        if held := self._held.get(session_id):
            held.stream.end()

    def shut(self) -> None:
        """The daemon ends: nothing is published any more."""
        self._shut = True
        for held in self._held.values():
            held.stream.end()
