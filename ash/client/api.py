"""The methods of both clients and of the embedded library, from one table."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from ash.client import agent_calls, sandbox_calls, session_calls, stream_calls
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
    """The table of all calls. The modules `ash.client.*_calls` describe them."""

    health = Call(agent_calls.health)

    deploy_agent = Call(agent_calls.deploy_agent)
    check_agent = Call(agent_calls.check_agent)
    list_agents = Call(agent_calls.list_agents)
    get_agent = Call(agent_calls.get_agent)
    delete_agent = Call(agent_calls.delete_agent)

    create_session = Call(session_calls.create_session)
    get_session = Call(session_calls.get_session)
    list_sessions = Call(session_calls.list_sessions)
    pause_session = Call(session_calls.pause_session)
    resume_session = Call(session_calls.resume_session)
    stop_session = Call(session_calls.stop_session)
    fork_session = Call(session_calls.fork_session)
    end_session = Call(session_calls.end_session)
    interrupt_session = Call(session_calls.interrupt_session)
    configure_session = Call(session_calls.configure_session)

    send_message = StreamCall(stream_calls.send_message)
    stream_session = StreamCall(stream_calls.stream_session)

    list_messages = Call(sandbox_calls.list_messages)
    list_events = Call(sandbox_calls.list_events)
    get_logs = Call(sandbox_calls.get_logs)
    exec = Call(sandbox_calls.exec)
    list_files = Call(sandbox_calls.list_files)
    read_file = Call(sandbox_calls.read_file)
    write_files = Call(sandbox_calls.write_files)
    delete_file = Call(sandbox_calls.delete_file)
