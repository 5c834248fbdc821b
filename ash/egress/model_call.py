"""One model call of a sandbox: passed on to the endpoint, watched, and its faults told in words."""

from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import h11
import trio

from ash.egress import fault_words
from ash.egress.credentials import secrets
from ash.egress.errors import NoKey, NoModelEndpoint, Unreachable
from ash.egress.fault_words import Caller
from ash.egress.headers import Header
from ash.egress.model_answer import (
    ModelAnswer,
    is_of_api,
    is_stream,
    media_type,
    redirect_target,
)
from ash.egress.model_faults import ModelFault, ModelFaults
from ash.egress.proxy_connection import ProxyConnection
from ash.egress.response import UpstreamResponse, each_chunk
from ash.egress.upstream import ModelUpstream

# A connection takes a few milliseconds. After this time the turn's readers are told that they wait.
CONNECT_SECONDS = 2.0

# A model begins to answer within a few seconds. After this time the turn's readers are told that
# they wait, and again each time that twice as much has passed.
SILENT_SECONDS = 15.0

# The body of an error is read up to here. What is longer is no error of the Messages API.
MAX_ERROR = 256 * 1024

# The CLI would try again for minutes, although the same key will be refused again.
_FINAL = {401, 403}


class ModelCall:
    """Passes the request on with `headers`, the credentials. `watch` runs beside `run`."""

    def __init__(
        self,
        request: h11.Request,
        upstream: ModelUpstream,
        headers: Sequence[Header],
        faults: ModelFaults,
    ) -> None:
        self._request = request
        self._upstream = upstream
        self._headers = headers
        self._faults = faults
        self._caller = Caller(
            upstream.endpoint, has_key=bool(secrets(headers)), own=headers is not upstream.headers
        )
        self._answer = ModelAnswer()
        self._connected = False
        self._heard_at = trio.current_time()

    async def run(self, client: ProxyConnection) -> None:
        """Raises NoKey and Unreachable, whose texts are for the sandbox."""
        if self._upstream.is_anthropic and not self._caller.has_key:
            self._faults.failed(ModelFault(fault_words.NO_KEY, NoKey.status))
            raise NoKey(fault_words.NO_KEY)
        self._end_tries()
        chunk = partial(self._chunk, client)
        try:
            async with self._upstream.call(self._request, chunk, self._headers) as answer:
                self._heard_at = trio.current_time()
                await self._pass_answer(client, answer)
        except NoModelEndpoint:
            raise
        except Unreachable as error:
            fault = self._fault(client, error)
            again = self._faults.failed(fault, begun=self._heard_at)
            self._faults.given_up = client.answered and not again
            raise Unreachable(error.text, again=again, cause=fault.error) from None

    async def watch(self) -> None:
        """Tells the turn's readers that they wait, until it is cancelled."""
        await trio.sleep(CONNECT_SECONDS)
        if not self._connected:
            await self._tell(fault_words.connecting(self._caller, CONNECT_SECONDS))
        wait, heard_at = SILENT_SECONDS, self._heard_at
        while True:
            await trio.sleep_until(self._heard_at + wait)
            if heard_at == self._heard_at:
                await self._tell(fault_words.silent(self._caller, wait))
                wait *= 2
            else:
                wait, heard_at = SILENT_SECONDS, self._heard_at

    async def _tell(self, text: str) -> None:
        await self._faults.tell(ModelFault(text))

    async def _chunk(self, client: ProxyConnection) -> bytes | None:
        """The next part of the request's body. The first one is asked for by an open connection."""
        self._connected = True
        self._heard_at = trio.current_time()
        return await client.chunk()

    async def _pass_answer(self, client: ProxyConnection, answer: UpstreamResponse) -> None:
        if self._request.method != b"POST":
            await client.begin(answer.status, answer.headers)
            await each_chunk(answer.chunks, client.send)
            await client.end()
        elif answer.status >= 400:
            await self._pass_error(client, answer)
        else:
            await self._pass_message(client, answer)

    async def _pass_message(self, client: ProxyConnection, answer: UpstreamResponse) -> None:
        """The head of a stream is passed on at once; another waits to see whether a body comes."""
        if wrong := self._wrong(answer):
            self._no_endpoint(wrong, answer.status)
        if is_stream(media_type(answer.headers)):
            await self._begin(client, answer)
        await each_chunk(answer.chunks, partial(self._pass_chunk, client, answer))
        if not client.answered:
            self._no_endpoint(fault_words.empty(self._caller, answer.status), answer.status)
        # Noted first, because the CLI acts on the end as soon as it has it.
        if self._answer.is_whole:
            self._faults.answered()
        else:
            last, is_json = self._answer.last, self._answer.is_json
            fault = ModelFault(fault_words.not_whole(self._caller, last, is_json=is_json))
            self._faults.given_up = not self._faults.failed(fault)
        await client.end()

    async def _pass_chunk(
        self, client: ProxyConnection, answer: UpstreamResponse, chunk: bytes
    ) -> None:
        self._heard_at = trio.current_time()
        self._answer.feed(chunk)
        if not client.answered:
            await self._begin(client, answer)
        await client.send(chunk)

    async def _begin(self, client: ProxyConnection, answer: UpstreamResponse) -> None:
        self._faults.answering()
        await client.begin(answer.status, answer.headers)

    def _wrong(self, answer: UpstreamResponse) -> str:
        """Why the answer is none of a model endpoint, as far as its head shows; else empty."""
        if answer.status >= 300:
            path = self._request.target.partition(b"?")[0].decode()
            to = redirect_target(answer.headers, self._caller.endpoint, path)
            return fault_words.redirected(self._caller, answer.status, to)
        media = media_type(answer.headers)
        return "" if is_of_api(media) else fault_words.other_type(self._caller, media)

    def _no_endpoint(self, text: str, status: int) -> NoReturn:
        self._faults.failed(ModelFault(text, status))
        raise NoModelEndpoint(text)

    def _end_tries(self) -> None:
        """Refuses the call if the time was up when the answer before it broke off."""
        if self._faults.given_up and self._faults.last is not None:
            self._faults.given_up = False
            cause = self._faults.last.error
            raise Unreachable("The model endpoint broke off", again=False, cause=cause)

    async def _pass_error(self, client: ProxyConnection, answer: UpstreamResponse) -> None:
        """Reads the error first, because the CLI acts on it as soon as it has it."""
        body = bytearray()

        async def read(chunk: bytes) -> None:
            body.extend(chunk[: MAX_ERROR - len(body)])

        await each_chunk(answer.chunks, read)
        status, pause = answer.status, _pause(answer)
        text = fault_words.refused(self._caller, status, bytes(body), pause)
        again = self._faults.failed(ModelFault(text, status), pause=pause)
        ours = {b"content-length": str(len(body)).encode()}
        if status in _FINAL or status == 404 or not again:
            ours[b"x-should-retry"] = b"false"
        kept = [(name, value) for name, value in answer.headers if name.lower() not in ours]
        await client.begin(status, [*kept, *ours.items()])
        await client.send(bytes(body))
        await client.end()

    def _fault(self, client: ProxyConnection, error: Unreachable) -> ModelFault:
        silence = trio.current_time() - self._heard_at
        if error.timed_out and self._connected:
            return ModelFault(fault_words.silent(self._caller, round(silence)))
        if client.answered:
            return ModelFault(fault_words.broke_off(self._caller))
        if self._connected:
            return ModelFault(f"{error.text} ({self._caller.endpoint})")
        return ModelFault(fault_words.unreachable(self._caller, error.cause))


def _pause(answer: UpstreamResponse) -> float | None:
    """How many seconds the endpoint asks to wait, if it says so in seconds."""
    for name, value in answer.headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return float(value)
    return None
