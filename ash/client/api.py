"""The methods of both clients and of the embedded library, from one table."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from ash.client.calls import agents, inside, sessions, streams
from ash.client.reconnecting import StreamRequest
from ash.client.request import Request

P = ParamSpec("P")
T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)


class Blocking(ABC):
    """A client whose calls block until they are answered."""

    @abstractmethod
    def ask(self, request: Request[T]) -> T: ...


class Awaiting(ABC):
    """A client whose calls are awaited."""

    @abstractmethod
    async def ask(self, request: Request[T]) -> T: ...


class Streaming(Protocol[S_co]):
    """A client whose streams are of the type `S_co`."""

    def follow(self, request: StreamRequest) -> S_co: ...


class Call(Generic[P, T]):
    """A method: it takes the parameters of `describe` and returns the answer to its request."""

    def __init__(self, describe: Callable[P, Request[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Request[T]]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        return self._describe if client is None else _method(client.ask, self._describe)


class StreamCall(Generic[P]):
    """The same for a call that returns a stream of events."""

    def __init__(self, describe: Callable[P, StreamRequest]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, StreamRequest]: ...
    @overload
    def __get__(self, client: Streaming[S_co], owner: type) -> Callable[P, S_co]: ...
    def __get__(self, client: Streaming[Any] | None, owner: type) -> Any:
        return self._describe if client is None else _method(client.follow, self._describe)


def _method(do: Callable[[Any], Any], describe: Callable[P, Any]) -> Callable[P, Any]:
    def method(*args: P.args, **kwargs: P.kwargs) -> Any:
        return do(describe(*args, **kwargs))

    return update_wrapper(method, describe)


class Api:
    """The table of all calls. `ash.client.calls` describes each of them."""

    health = Call(agents.health)

    deploy_agent = Call(agents.deploy_agent)
    list_agents = Call(agents.list_agents)
    get_agent = Call(agents.get_agent)
    delete_agent = Call(agents.delete_agent)

    create_session = Call(sessions.create_session)
    get_session = Call(sessions.get_session)
    list_sessions = Call(sessions.list_sessions)
    pause_session = Call(sessions.pause_session)
    resume_session = Call(sessions.resume_session)
    stop_session = Call(sessions.stop_session)
    fork_session = Call(sessions.fork_session)
    end_session = Call(sessions.end_session)
    interrupt_session = Call(sessions.interrupt_session)
    configure_session = Call(sessions.configure_session)

    send_message = StreamCall(streams.send_message)
    stream_session = StreamCall(streams.stream_session)

    list_messages = Call(inside.list_messages)
    list_events = Call(inside.list_events)
    get_logs = Call(inside.get_logs)
    exec = Call(inside.exec)
    list_files = Call(inside.list_files)
    read_file = Call(inside.read_file)
    write_files = Call(inside.write_files)
    delete_file = Call(inside.delete_file)
