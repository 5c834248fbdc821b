"""Opens connections to hosts outside: resolves the name, checks the addresses, connects."""

import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias, cast

import trio

from ash.egress.addresses import Address, is_own, parse_address, why_not_public
from ash.egress.errors import EgressRefused, Unreachable
from ash.egress.policy import Policy, format_authority, is_address

# Long enough for a slow name server: resolvers ask again after 5 s.
RESOLVE_SECONDS = 15
CONNECT_SECONDS = 10

# Bounds the time for a name with very many silent addresses.
MAX_TRIES = 4

# A lookup occupies a thread until its name servers answer. The limit is for each sandbox, so one
# that asks for names which never resolve does not delay the others.
LOOKUPS_AT_ONCE = 4

Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
Connect: TypeAlias = Callable[[str, int], Awaitable[trio.SocketStream]]


class _Both:
    """Two limiters, both held by a thread until it ends, also if nobody waits for it any more."""

    def __init__(self, own: trio.CapacityLimiter, of_all: trio.CapacityLimiter) -> None:
        self._own = own
        self._of_all = of_all

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._own.acquire_on_behalf_of(borrower)
        try:
            await self._of_all.acquire_on_behalf_of(borrower)
        except BaseException:
            self._own.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        self._own.release_on_behalf_of(borrower)
        self._of_all.release_on_behalf_of(borrower)


class Resolver:
    """Resolves names as the system does, with getaddrinfo in a thread."""

    def __init__(self, of_all: trio.CapacityLimiter | None = None) -> None:
        own = trio.CapacityLimiter(LOOKUPS_AT_ONCE)
        self._lookups = own if of_all is None else cast("trio.CapacityLimiter", _Both(own, of_all))

    async def __call__(self, host: str) -> list[str]:
        """The host's addresses, in the order to try them. Raises OSError if there are none."""
        if is_address(host):
            return [host]
        found = await trio.to_thread.run_sync(
            _look_up, host, abandon_on_cancel=True, limiter=self._lookups
        )
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Dialer:
    """Opens a connection if the policy allows it.

    A name is resolved once for each connection; all addresses are checked and one of them is
    dialled. So a name server can't pass the check with one answer and be dialled with another.
    Tests replace `resolve`, `connect` and `own`.
    """

    def __init__(
        self,
        resolve: Resolve | None = None,
        connect: Connect = trio.open_tcp_stream,
        own: Callable[[Address], bool] = is_own,
    ) -> None:
        self._resolve = resolve or Resolver()
        self._connect = connect
        self._own = own

    async def open(self, policy: Policy, host: str, port: int) -> trio.SocketStream:
        """Raises EgressRefused or Unreachable; their texts never contain an address."""
        target = format_authority(host, port)
        if not policy.allows(host, port):
            places = policy.missing_from(host, port, by_name=False)
            raise EgressRefused(
                f"{target} is not a host that may be reached. {_how_to_allow(target, places)}"
            )
        addresses = await self._addresses(host, target)
        if places := policy.missing_from(host, port, by_name=True):
            self._check(addresses, target, places)
        return await self._dial(addresses, port, target)

    async def _addresses(self, host: str, target: str) -> Sequence[str]:
        try:
            with trio.fail_after(RESOLVE_SECONDS):
                addresses = await self._resolve(host)
        except trio.TooSlowError:
            raise Unreachable(f"{target}: the name servers do not answer") from None
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise Unreachable(f"{target}: there is no such host")
        return addresses

    def _check(self, addresses: Sequence[str], target: str, places: list[str]) -> None:
        for text in addresses:
            if why := self._why_not_allowed(text):
                raise EgressRefused(
                    f"{target} has {why}, where only hosts that are named exactly may be"
                    f" reached. {_how_to_allow(target, places)}"
                )

    def _why_not_allowed(self, text: str) -> str | None:
        try:
            address = parse_address(text)
            own = "an address of this host" if self._own(address) else None
            return why_not_public(address) or own
        except (ValueError, OSError):
            return "an address that can't be checked"

    async def _dial(self, addresses: Sequence[str], port: int, target: str) -> trio.SocketStream:
        for address in addresses[:MAX_TRIES]:
            with trio.move_on_after(CONNECT_SECONDS):
                try:
                    return await self._connect(address, port)
                except OSError:
                    continue
        raise Unreachable(f"{target} can't be connected to")


def _how_to_allow(target: str, places: list[str]) -> str:
    return f'To allow it, add "{target}" to network {" and ".join(places)}.'


def _look_up(host: str) -> list[tuple[object, object, object, str, tuple[object, ...]]]:
    return list(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
