"""How many connections there may be through the proxies of all sandboxes, and who gets them."""

import trio

# Connections of one sandbox at a time. A browser opens some 30, npm 15, the CLI a few.
CONNECTIONS = 128
# One sandbox gets at most this part of all places, but a few in any case.
_PART, _FEW = 4, 8

# Of all sandboxes, unless there are too few descriptors for so many.
ALL_CONNECTIONS = 4096

# Look-ups of names at a time, of all sandboxes: each takes a thread.
LOOKUPS = 256


class Places:
    """What the sandboxes of a daemon share.

    If there is no place left, a sandbox that has more connections than the one that wants another
    loses its oldest: an idle one if it has any. So no sandbox can keep others from the model.
    """

    def __init__(self, total: int = ALL_CONNECTIONS) -> None:
        self.lookups = trio.CapacityLimiter(LOOKUPS)
        self.each = min(CONNECTIONS, max(_FEW, total // _PART))
        self._total = total
        self._used = 0
        self._shares: set[Share] = set()
        self._given_back = trio.lowlevel.ParkingLot()

    async def take(self, share: "Share") -> "Place":
        """A place for another connection of the share; waits for one if need be."""
        while self._used >= self._total and not self._end_one_of_more_than(len(share.held) + 1):
            await self._given_back.park()
        place = Place(self, share)
        share.held[place] = None
        self._shares.add(share)
        self._used += 1
        return place

    def give_back(self, place: "Place") -> None:
        share = place.share
        if place in share.held:
            del share.held[place]
            self._used -= 1
            self._given_back.unpark_all()
            share.given_back.unpark_all()
        if not share.held:
            self._shares.discard(share)

    def _end_one_of_more_than(self, count: int) -> bool:
        largest = max(self._shares, key=lambda share: len(share.held))
        if len(largest.held) <= count:
            return False
        place = next((one for one in largest.held if one.idle), next(iter(largest.held)))
        self.give_back(place)
        place.ended = True
        place.scope.cancel()
        return True


class Share:
    """The places that one sandbox holds, the oldest first."""

    def __init__(self) -> None:
        self.held: dict[Place, None] = {}
        self.given_back = trio.lowlevel.ParkingLot()


class Place:
    """A connection runs in `scope`. It is `ended` if another sandbox got its place."""

    def __init__(self, places: Places, share: Share) -> None:
        self.share = share
        self.scope = trio.CancelScope()
        self.idle = True
        self.ended = False
        self._places = places

    def give_back(self) -> None:
        self._places.give_back(self)


class Bounded(trio.abc.Listener[trio.SocketStream]):
    """Accepts a sandbox's connections while there are places; `place_of` has each one's place."""

    def __init__(self, listener: trio.SocketListener, places: Places) -> None:
        self._listener = listener
        self._places = places
        self._share = Share()
        self._of: dict[trio.SocketStream, Place] = {}

    async def accept(self) -> trio.SocketStream:
        while len(self._share.held) >= self._places.each:
            await self._share.given_back.park()
        stream = await self._listener.accept()
        try:
            self._of[stream] = await self._places.take(self._share)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    def place_of(self, stream: trio.SocketStream) -> Place:
        return self._of.pop(stream)

    async def aclose(self) -> None:
        await self._listener.aclose()
