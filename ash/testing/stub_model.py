"""The stub model: a Messages API endpoint on loopback with predictable answers."""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from hmac import compare_digest
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import h11
import msgspec
import trio

from ash import script
from ash.model_turn import ModelTurn
from ash.testing.connection import StubConnection
from ash.testing.faults import Cut, Hang
from ash.testing.messages import Request, error_body, half, parts, tool_output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_ROUTES = ("/v1/messages", "/v1/messages/count_tokens")

# A function that decides an answer; None leaves it to the script.
Rule: TypeAlias = Callable[[Request], script.ScriptAnswer | Cut | Hang | str | None]
_Decided: TypeAlias = script.Say | script.Use | script.Fail | Cut | Hang

# Kills the CLI from its own Bash tool: the nearest ancestor of the shell that is not a shell.
_KILL_THE_CLI = """\
pid=$$
while read -r _ name _ parent _ < "/proc/$pid/stat"; do
  case $name in (*sh\\)) pid=$parent ;; (*) kill -9 "$pid"; exit ;; esac
done
"""


class StubModel:
    """Serves until its context is left; records the requests in `requests`, oldest first.

    `answer` is called with each request for a message, and returns a text, an answer of
    `ash.testing`, or None to let the script answer. With `expect_key`, requests without that API
    key are refused. Set ANTHROPIC_BASE_URL to `url`.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        answer: Rule | None = None,
        expect_key: str | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self._host, self._port = host, port
        self._rule = answer
        self._key = expect_key
        self._serving: AbstractAsyncContextManager[None] | None = None

    @property
    def url(self) -> str:
        """The endpoint's URL, without a slash at its end; known inside the context."""
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        self._serving = self._serve()
        await self._serving.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        assert self._serving is not None
        try:
            return await self._serving.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # An error of the body is raised as it is, not in a group.
            if group.exceptions == (error,):
                return False
            raise

    @classmethod
    @contextmanager
    def in_thread(cls, **options: Any) -> "Iterator[StubModel]":
        """A stub model for programs without trio, in a thread that ends with the context."""
        model = cls(**options)
        started: SimpleQueue[tuple[trio.lowlevel.TrioToken, trio.CancelScope] | BaseException]
        started = SimpleQueue()

        async def serve() -> None:
            with trio.CancelScope() as scope:
                async with model:
                    started.put((trio.lowlevel.current_trio_token(), scope))
                    await trio.sleep_forever()

        def run() -> None:
            try:
                trio.run(serve)
            except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                started.put(error)

        thread = Thread(target=run, name="stub-model", daemon=True)
        thread.start()
        outcome = started.get()
        if isinstance(outcome, BaseException):
            raise outcome
        token, scope = outcome
        try:
            yield model
        finally:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(scope.cancel)
            thread.join()

    @asynccontextmanager
    async def _serve(self) -> "AsyncIterator[None]":
        listeners = await trio.open_tcp_listeners(self._port, host=self._host)
        self._port = listeners[0].socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, self._serve_connection, listeners)
            yield
            nursery.cancel_scope.cancel()

    async def _serve_connection(self, stream: trio.SocketStream) -> None:
        async with stream:
            connection = StubConnection(stream)
            try:
                while (received := await connection.request()) is not None:
                    await self._respond(connection, *received)
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                return  # the client has gone, or does not speak HTTP

    async def _respond(self, connection: StubConnection, head: h11.Request, payload: bytes) -> None:
        request = _recorded(head, payload)
        self.requests.append(request)
        path = request.path.partition("?")[0]
        if request.method in {"GET", "HEAD"}:
            await connection.send(200, b"{}")
        elif request.method != "POST" or path not in _ROUTES:
            await connection.send(404, error_body(404, f"no {request.method} {path} here"))
        elif not self._has_key(request):
            await connection.send(401, error_body(401, "invalid x-api-key"))
        elif wrong := _fault(request):
            await connection.send(400, error_body(400, wrong))
        elif path == "/v1/messages":
            await self._answer(connection, request)
        else:
            count = {"input_tokens": script.tokens(*request.texts)}
            await connection.send(200, msgspec.json.encode(count))

    async def _answer(self, connection: StubConnection, request: Request) -> None:
        match answer := self._decide(request):
            case Hang():
                await connection.hang()
            case Cut(said):
                await connection.stream(half(_turn(request, said)), cut=True)
            case script.Fail(code, text, again, retry_after):
                body = error_body(code, text)
                await connection.send(code, body, again=again, retry_after=retry_after)
            case _ if request.body.get("stream"):
                await connection.stream(parts(_turn(request, answer)))
            case _:
                whole = _turn(request, answer).whole()
                await connection.send(200, msgspec.json.encode(whole))

    def _has_key(self, request: Request) -> bool:
        if self._key is None:
            return True
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = request.headers.get("x-api-key", bearer)
        return compare_digest(given.encode(), self._key.encode())

    def _decide(self, request: Request) -> _Decided:
        try:
            ruled = self._rule(request) if self._rule else None
        except Exception as error:  # noqa: BLE001 - the rule's author gets it as the answer
            return script.Fail(500, f"the rule failed: {error!r}")
        if isinstance(ruled, str):
            ruled = script.say(ruled)
        return _feasible(request, ruled or _scripted(request))


def _recorded(head: h11.Request, payload: bytes) -> Request:
    try:
        body = msgspec.json.decode(payload) if payload else {}
    except msgspec.DecodeError:
        body = None
    return Request(
        method=head.method.decode(),
        path=head.target.decode(),
        headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
        body=body if isinstance(body, dict) else {},
    )


def _fault(request: Request) -> str | None:
    try:
        request.check()
    except msgspec.ValidationError as error:
        return str(error)
    return None


def _turn(request: Request, answer: script.Say | script.Use) -> ModelTurn:
    model = request.body.get("model", "stub")
    return ModelTurn(model, answer, script.tokens(*request.texts))


def _scripted(request: Request) -> script.ScriptAnswer:
    if (task := request.ended_task) is not None:
        return script.after_task(task)
    if result := request.tool_result:
        return script.after_tool(tool_output(result), is_error=bool(result.get("is_error")))
    return script.answer(request.texts)


def _feasible(request: Request, answer: script.ScriptAnswer | Cut | Hang) -> _Decided:
    """Adapts the answer to the client: its tools, and its working directory."""
    if isinstance(answer, script.Crash):
        answer = script.Use("Bash", {"command": _KILL_THE_CLI})
    if not isinstance(answer, script.Use):
        return answer
    if answer.tool not in request.tools:
        return script.not_offered(answer.tool)
    path = answer.input.get("file_path")
    if path is None or path.startswith("/"):
        return answer
    return script.Use(answer.tool, {**answer.input, "file_path": f"{request.cwd or ''}/{path}"})
