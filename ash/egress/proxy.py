"""A sandbox's way out: model calls with the real key, everything else by policy."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import h11
import trio

from ash.egress import model_calls, plain
from ash.egress.dial import Dialer
from ash.egress.errors import EgressRefused, Malformed, Traffic
from ash.egress.headers import Header, UpstreamResponse, each_chunk
from ash.egress.listener import Bounded, join_streams
from ash.egress.policy import Policy
from ash.egress.proxy_connection import ProxyConnection
from ash.egress.upstream import ModelUpstream
from ash.errors import AshError
from ash.log import get_logger
from ash.model import LogSink

log = get_logger()

# Two descriptors each. A browser opens some 30 connections, npm 15, the CLI a few.
CONNECTIONS = 128

# A sandbox gets one refusal after the other with this pause in between, so that a loop of
# them fills neither the log nor the daemon's time.
PAUSE_SECONDS = 0.02


class Egress:
    """One sandbox's proxy.

    `policy` and `headers`, the credentials for model calls, may be set at any time and hold
    for the requests that begin afterwards: so a warm sandbox is bound to its session.
    """

    def __init__(
        self,
        policy: Policy,
        upstream: ModelUpstream,
        log_sink: LogSink,
        *,
        headers: Sequence[Header] | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        self.policy = policy
        self.headers: Sequence[Header] = upstream.headers if headers is None else headers
        self.traffic = Traffic()
        self._upstream = upstream
        self._log = log_sink
        self._dialer = dialer or Dialer()
        self._refusing = trio.Lock()

    async def serve(self, listener: trio.SocketListener) -> None:
        """Runs in the sandbox's nursery until cancelled, which cuts all connections.

        Closes the listener. No fault of one connection ends another.
        """
        bounded = Bounded(listener, CONNECTIONS)
        await trio.serve_listeners(partial(self._serve_one, bounded), [bounded])

    async def _serve_one(self, bounded: Bounded, stream: trio.SocketStream) -> None:
        try:
            async with stream:
                await self._converse(ProxyConnection(stream, self.traffic))
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass
        except Exception:
            log.exception("egress.failed")
        finally:
            bounded.leave()

    async def _converse(self, client: ProxyConnection) -> None:
        more = True
        while more:
            try:
                more = await self._serve_request(client)
            except AshError as error:
                await self._turn_away(client, error)
                # Where the next request would begin nobody can say.
                more = not isinstance(error, Malformed)
        await client.linger()

    async def _serve_request(self, client: ProxyConnection) -> bool:
        """False if there was none, and there will be none. Raises AshError."""
        request = await client.request()
        if request is None:
            return False
        if request.method == b"CONNECT":
            await self._tunnel(client, request)
        elif request.target.startswith(b"/"):
            await _while_there(client, partial(self._call_model, client, request))
        else:
            await _while_there(client, partial(self._forward, client, request))
        return True

    async def _call_model(self, client: ProxyConnection, request: h11.Request) -> None:
        if not self.policy.calls_model:
            raise EgressRefused(
                'Model calls are not allowed, as network is "none". To allow them, set it to'
                " \"model-only\" in the agent's config and in this server's ash.toml."
            )
        model_calls.check_model_call(request)
        self.traffic.model_calls += 1
        async with self._upstream.call(request, client.chunk, self.headers) as answer:
            await _pass_on(client, answer)

    async def _forward(self, client: ProxyConnection, request: h11.Request) -> None:
        to = plain.target(request)
        async with await self._dialer.open(self.policy, to.host, to.port) as host:
            self.traffic.hosts += 1
            await _pass_on(
                client, await plain.ForwardedRequest(host).ask(request, to, client.chunk)
            )

    async def _tunnel(self, client: ProxyConnection, request: h11.Request) -> None:
        to = plain.target(request)
        async with await self._dialer.open(self.policy, to.host, to.port) as host:
            self.traffic.hosts += 1
            inner, early = await client.switch()
            await host.send_all(early)
            await join_streams(inner, host, self.traffic)

    async def _turn_away(self, client: ProxyConnection, error: AshError) -> None:
        """An answer that has begun can only be cut, which the client can tell from its end."""
        self.traffic.turned_away += 1
        async with self._refusing:
            await self._log([("system", f"network: {error.text}")])
            await trio.sleep(PAUSE_SECONDS)
        if client.answered:
            raise trio.BrokenResourceError(error.text)
        await client.fail(error.status, error.text)


async def _pass_on(client: ProxyConnection, answer: UpstreamResponse) -> None:
    await client.begin(answer.status, answer.headers)
    await each_chunk(answer.chunks, client.send)
    await client.end()


async def _while_there(client: ProxyConnection, work: Callable[[], Awaitable[None]]) -> None:
    """Runs `work`, and cancels it when the client leaves; that raises BrokenResourceError."""
    left: Exception | None = trio.BrokenResourceError("the client has left")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, client, nursery.cancel_scope)
        try:
            await work()
            left = None
        except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery's group
            left = error
        nursery.cancel_scope.cancel()
    if left is not None:
        raise left


async def _cancel_when_gone(client: ProxyConnection, work: trio.CancelScope) -> None:
    await client.gone()
    work.cancel()
