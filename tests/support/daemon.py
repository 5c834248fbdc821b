"""A whole daemon in this process, on a port of its own, and a client that speaks to it."""

import json
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h11
import httpx
import trio

import ash.daemon
from ash.authentication import ApiKeys, load_secret
from ash.clock import SystemClock, now_iso
from ash.config import Settings
from ash.http.server import server
from ash.model import ApiKey
from ash.store import open_store
from tests.support.waiting import until

KEY, THEIR_KEY = "our-key", "their-key"

# For a bridge to start, on a machine that is busy with other things.
PATIENCE = 30.0


class Frame(NamedTuple):
    """One event of a stream; `data` is its JSON as it came, `value` what it says."""

    id: int
    event: str
    data: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.data)


class Stream:
    """The frames of a response as they come.

    Not httpx: a stream of its that is left early stays with the garbage collector.
    """

    def __init__(self, connection: trio.SocketStream) -> None:
        self._connection = connection
        self._http = h11.Connection(h11.CLIENT)
        self._rest = b""
        self.status = 0
        self.headers: dict[str, str] = {}

    async def ask(
        self, path: str, headers: dict[str, str], body: bytes = b"", method: str = "POST"
    ) -> None:
        """Raises AssertionError with what was answered if that is no stream."""
        head = {**headers, "Host": "ash", "Content-Length": str(len(body))}
        request = h11.Request(method=method, target=path, headers=list(head.items()))
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        await self._connection.send_all(b"".join(self._http.send(event) for event in events))
        response = await self._next_event()
        self.status = response.status_code
        self.headers = {name.decode(): value.decode() for name, value in response.headers}
        if self.status != 200:
            raise AssertionError(await self._data())

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Frame:
        while (frame := await self.frame_or_ping()) is None:
            pass
        return frame

    async def frame_or_ping(self) -> Frame | None:
        """None for a comment, as a ping is."""
        while b"\n\n" not in self._rest:
            data = await self._data()
            if not data:
                raise StopAsyncIteration
            self._rest += data
        block, _, self._rest = self._rest.partition(b"\n\n")
        if block.startswith(b":"):
            return None
        fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
        return Frame(int(fields[b"id"]), fields[b"event"].decode(), fields[b"data"])

    async def until(self, event: str) -> Frame:
        async for frame in self:
            if frame.event == event:
                return frame
        raise AssertionError(f"the stream ended before a frame {event}")

    async def up_to(self, event: str) -> list[Frame]:
        """The frames before the next such one, and that one."""
        frames = []
        async for frame in self:
            frames.append(frame)
            if frame.event == event:
                return frames
        raise AssertionError(f"the stream ended before a frame {event}")

    async def rest(self) -> list[Frame]:
        """Raises h11.RemoteProtocolError if it is cut off."""
        return [frame async for frame in self]

    async def _data(self) -> bytes:
        """Nothing at the end."""
        event = await self._next_event()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _next_event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                self._http.receive_data(await self._connection.receive_some())
            except trio.BrokenResourceError:
                self._http.receive_data(b"")
        return event


class Client(httpx.AsyncClient):
    """Speaks for one tenant."""

    def __init__(self, url: str, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        super().__init__(
            base_url=url, headers=headers, timeout=PATIENCE, trust_env=False, verify=False
        )

    async def deploy(self, name: str = "helper", **fields: Any) -> dict[str, Any]:
        body = {"name": name, "systemPrompt": "be kind", **fields}
        return (await self._made("/api/agents", body))["agent"]

    async def create(self, agent: str = "helper", **fields: Any) -> str:
        """The id of a new session."""
        made = await self._made("/api/sessions", {"agent": agent, **fields})
        return made["session"]["id"]

    @asynccontextmanager
    async def sending(self, session: str, content: Any, options: str = "", **fields: Any):
        """The stream of a turn; `options` is the query."""
        body = json.dumps({"content": content, **fields}).encode()
        async with self._streaming() as stream:
            path = f"/api/sessions/{session}/messages{options}"
            await stream.ask(path, {"Authorization": self.headers["Authorization"]}, body)
            yield stream

    @asynccontextmanager
    async def watching(self, session: str, query: str = "", last_id: int | None = None):
        """The stream of a session; `last_id` is what an `EventSource` that comes back sends."""
        keys = ("Authorization",) if "Authorization" in self.headers else ()
        headers = {key: self.headers[key] for key in keys}
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        async with self._streaming() as stream:
            await stream.ask(f"/api/sessions/{session}/stream{query}", headers, method="GET")
            yield stream

    async def say(self, session: str, content: Any, **fields: Any) -> list[Frame]:
        """All frames of a turn."""
        async with self.sending(session, content, **fields) as stream:
            return await stream.rest()

    async def history(self, session: str, kind: str = "messages") -> list[dict[str, Any]]:
        response = await self.get(f"/api/sessions/{session}/{kind}")
        return response.raise_for_status().json()[kind]

    async def status(self, session: str) -> str:
        response = await self.get(f"/api/sessions/{session}")
        return response.raise_for_status().json()["session"]["status"]

    async def becomes(self, session: str, status: str) -> None:
        """Waits until the session has that status."""

        async def it_is() -> bool:
            return await self.status(session) == status

        await until(it_is)

    async def completes(self, session: str) -> None:
        """Waits until a turn of the session is complete, and none runs any more."""
        path = f"/api/sessions/{session}/events?type=turn_complete"

        async def one_is_complete() -> bool:
            return bool((await self.get(path)).json()["events"])

        await until(one_is_complete)
        await self.rests()

    async def rests(self) -> None:
        """Waits until no turn runs in any session."""

        async def none_runs() -> bool:
            return not (await self.get("/health")).json()["pool"]["running"]

        await until(none_runs)

    @asynccontextmanager
    async def _streaming(self):
        host, port = self.base_url.host, self.base_url.port
        async with await trio.open_tcp_stream(host, port) as connection:
            yield Stream(connection)

    async def _made(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = await self.post(path, json=body)
        assert response.status_code == 201, response.text
        return response.json()


class Daemon:
    """`us` and `them` are clients of two tenants, `nobody` one without a key."""

    def __init__(self, url: str, settings: Settings, ended: trio.Event) -> None:
        self.url = url
        self.settings = settings
        self.data_dir = settings.data_dir
        self.us, self.them = Client(url, KEY), Client(url, THEIR_KEY)
        self.nobody = Client(url, "")
        self.ended = ended

    async def stop(self) -> None:
        """As a service manager does; returns when the daemon has ended."""
        if not self.ended.is_set():
            signal.raise_signal(signal.SIGTERM)
        await self.ended.wait()


def settings(data_dir: Path, **more: Any) -> Settings:
    given = {"port": 0, "engine": "scripted", "api_key": KEY, "pre_warm_count": 0, **more}
    return Settings(data_dir=data_dir, **given)


@asynccontextmanager
async def running(wanted: Settings, *, other_tenant: bool = True):
    """The daemon until the block is left, by a signal if it has not ended before."""
    if other_tenant:
        secret = await trio.to_thread.run_sync(_secret, wanted.data_dir)
        await _add_their_key(wanted.data_dir / "ash.db", secret)
    async with trio.open_nursery() as nursery:
        url, ended = await nursery.start(_run, wanted)
        daemon = Daemon(url, wanted, ended)
        try:
            async with daemon.us, daemon.them, daemon.nobody:
                yield daemon
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(PATIENCE):
                await daemon.stop()
            nursery.cancel_scope.cancel()


async def _run(wanted: Settings, task_status: trio.TaskStatus) -> None:
    """Runs it, and tells its address when it answers, with the event of its end."""
    ended, opened = trio.Event(), trio.Event()
    listening: list[trio.SocketListener] = []

    async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
        listening.extend(await server.open_listeners(host, port))
        opened.set()
        return listening

    async def tell() -> None:
        await opened.wait()
        url = "http://{}:{}".format(*listening[0].socket.getsockname())
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            await client.get(f"{url}/health", timeout=PATIENCE)
        task_status.started((url, ended))

    ash.daemon.open_listeners = open_listeners
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tell)
            await ash.daemon.run(wanted)
    finally:
        ash.daemon.open_listeners = server.open_listeners
        ended.set()


def _secret(data_dir: Path) -> bytes:
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    return load_secret(data_dir)


async def _add_their_key(database: Path, secret: bytes) -> None:
    """As long as no route makes keys for other tenants."""
    clock = SystemClock()
    key = ApiKey(
        id="them", tenant_id="them", label=None, key_prefix="their", created_at=now_iso(clock)
    )
    async with open_store(database) as store:
        if not await store.keys():
            await store.add_key(key, ApiKeys(store, secret, clock)._digest(THEIR_KEY))
