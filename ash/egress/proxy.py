"""The proxy of one sandbox: sends model calls with the real key, other requests by policy."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import h11
import trio

from ash.egress import model_calls, plain
from ash.egress.dial import Dialer, Resolver
from ash.egress.errors import EgressRefused, Malformed, Unreachable
from ash.egress.headers import UPGRADE, Header, wants_websocket
from ash.egress.listener import join_streams
from ash.egress.model_call import ModelCall
from ash.egress.model_faults import ModelFaults
from ash.egress.places import Bounded, Place, Places
from ash.egress.policy import Policy
from ash.egress.proxy_connection import ProxyConnection, Traffic
from ash.egress.response import UpstreamResponse, each_chunk
from ash.egress.upstream import ModelUpstream
from ash.errors import AshError
from ash.log import get_logger
from ash.model import LogSink

log = get_logger()

_ENDED = (
    "network: a connection was ended, because this sandbox had the most of all and there was no"
    " room for another's"
)

# A sandbox gets its refusals one at a time, with this pause before each. So a loop of refused
# requests fills neither the log nor the daemon's time.
PAUSE_SECONDS = 0.02


class Egress:
    """One sandbox's proxy.

    `policy` and `headers` (the credentials for model calls) may be set at any time and apply to
    requests that begin afterwards. The pool sets them when a session claims a warm sandbox.
    """

    def __init__(
        self,
        policy: Policy,
        upstream: ModelUpstream,
        log_sink: LogSink,
        *,
        headers: Sequence[Header] | None = None,
        dialer: Dialer | None = None,
        places: Places | None = None,
    ) -> None:
        self.policy = policy
        self.headers: Sequence[Header] = upstream.headers if headers is None else headers
        self.traffic = Traffic()
        self.faults = ModelFaults(upstream.patience)
        self._upstream = upstream
        self._log = log_sink
        self._places = places or Places()
        self._dialer = dialer or Dialer(Resolver(self._places.lookups))
        self._refusal_lock = trio.Lock()

    async def serve(self, listener: trio.SocketListener) -> None:
        """Serves until cancelled, which ends all connections; then the listener is closed.

        A failure in one connection does not affect the others.
        """
        bounded = Bounded(listener, self._places)
        async with self._upstream.apart() as self._upstream:
            await trio.serve_listeners(partial(self._serve_one, bounded), [bounded])

    async def _serve_one(self, bounded: Bounded, stream: trio.SocketStream) -> None:
        place = bounded.place_of(stream)
        try:
            with place.scope:
                await self._serve_stream(stream, place)
        finally:
            place.give_back()
        if place.ended:
            await self._log([("system", _ENDED)])

    async def _serve_stream(self, stream: trio.SocketStream, place: Place) -> None:
        try:
            async with stream:
                await self._serve_requests(ProxyConnection(stream, self.traffic), place)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except Exception:
            log.exception("egress.failed")

    async def _serve_requests(self, client: ProxyConnection, place: Place) -> None:
        more = True
        while more:
            place.idle = True
            try:
                more = await self._serve_request(client, place)
            except AshError as error:
                await self._refuse(client, error)
                # After a malformed request we don't know where the next one begins.
                more = not isinstance(error, Malformed)
        await client.linger()

    async def _serve_request(self, client: ProxyConnection, place: Place) -> bool:
        """Serves the next request; returns False if no further one will come. Raises AshError."""
        request = await client.request()
        place.idle = False
        if request is None:
            return False
        if request.method == b"CONNECT":
            await self._tunnel(client, request)
        elif request.target.startswith(b"/"):
            await self._call_model(client, request)
        elif request.method == b"GET" and wants_websocket(request.headers):
            await self._upgrade(client, request)
        else:
            await _until_client_leaves(client, partial(self._forward, client, request))
        return True

    async def _call_model(self, client: ProxyConnection, request: h11.Request) -> None:
        if not self.policy.calls_model:
            raise EgressRefused(
                'Model calls are not allowed, as network is "none". To allow them, set it to'
                " \"model-only\" in the agent's config and in this server's ash.toml."
            )
        model_calls.check_model_call(request)
        self.traffic.model_calls += 1
        # Other calls are side issues: what becomes of a turn is decided by those for a message.
        faults = self.faults if model_calls.is_message(request) else ModelFaults(0)
        call = ModelCall(request, self._upstream, self.headers, faults)
        await _until_client_leaves(client, partial(call.run, client), call.watch)

    async def _forward(self, client: ProxyConnection, request: h11.Request) -> None:
        to = plain.destination(request)
        async with await self._dialer.open(self.policy, to.host, to.port) as host:
            self.traffic.hosts += 1
            await _send_answer(
                client, await plain.ForwardedRequest(host).ask(request, to, client.chunk)
            )

    async def _upgrade(self, client: ProxyConnection, request: h11.Request) -> None:
        """Carries a WebSocket, if the host accepts it; else its answer."""
        to = plain.destination(request)
        async with await self._dialer.open(self.policy, to.host, to.port) as host:
            self.traffic.hosts += 1
            forwarded = plain.ForwardedRequest(host)
            answer = await forwarded.ask(request, to, client.chunk)
            if answer.status != plain.SWITCHING:
                await _send_answer(client, answer)
                return
            inner, early = await client.upgrade([*answer.headers, *UPGRADE])
            await inner.send_all(forwarded.early)
            await host.send_all(early)
            await join_streams(inner, host, self.traffic)

    async def _tunnel(self, client: ProxyConnection, request: h11.Request) -> None:
        to = plain.destination(request)
        async with await self._dialer.open(self.policy, to.host, to.port) as host:
            self.traffic.hosts += 1
            inner, early = await client.switch()
            await host.send_all(early)
            await join_streams(inner, host, self.traffic)

    async def _refuse(self, client: ProxyConnection, error: AshError) -> None:
        """Logs and answers a refusal. If an answer has begun already, the connection is cut."""
        self.traffic.refused += 1
        async with self._refusal_lock:
            why = error.cause if isinstance(error, Unreachable) else error.text
            await self._log([("system", f"network: {why}")])
            await trio.sleep(PAUSE_SECONDS)
        if client.answered:
            raise trio.BrokenResourceError(error.text)
        again = not isinstance(error, Unreachable) or error.again
        await client.fail(error.status, error.text, again=again)


async def _send_answer(client: ProxyConnection, answer: UpstreamResponse) -> None:
    await client.begin(answer.status, answer.headers)
    await each_chunk(answer.chunks, client.send)
    await client.end()


async def _until_client_leaves(
    client: ProxyConnection,
    work: Callable[[], Awaitable[None]],
    *beside: Callable[[], Awaitable[None]],
) -> None:
    """Runs `work`, with `beside` until it is done.

    If the client leaves, cancels it and raises BrokenResourceError.
    """
    left: Exception | None = trio.BrokenResourceError("the client has left")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_client_leaves, client, nursery.cancel_scope)
        for task in beside:
            nursery.start_soon(task)
        try:
            await work()
            left = None
        except Exception as error:  # noqa: BLE001 - raised below; the nursery would wrap it in a group
            left = error
        nursery.cancel_scope.cancel()
    if left is not None:
        raise left


async def _cancel_when_client_leaves(client: ProxyConnection, work: trio.CancelScope) -> None:
    await client.gone()
    work.cancel()
