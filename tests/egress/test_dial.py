"""How connections to hosts outside are checked and opened."""

import socket
from functools import partial

import pytest
import trio

from ash.egress.dial import CONNECT_SECONDS, Dialer, Resolver
from ash.egress.errors import EgressRefused, Unreachable
from ash.egress.policy import PUBLIC, cap, parse

PUBLIC_1, PUBLIC_2 = "93.184.215.14", "93.184.215.15"


class Network:
    """Gives one answer after the other for a name, and records what is dialled."""

    def __init__(self, *answers, own=(), dead=()):
        self.answers = list(answers)
        self.asked = []
        self.dialled = []
        self.dead = dead
        self.dialer = Dialer(self.resolve, self.connect, lambda address: str(address) in own)

    async def resolve(self, host):
        self.asked.append(host)
        return self.answers.pop(0)

    async def connect(self, address, port):
        self.dialled.append((address, port))
        if address in self.dead:
            raise OSError
        return "a stream"


async def test_open_dials_the_address_that_was_checked():
    """A name is resolved once, so a second answer with a private address is never used."""
    network = Network([PUBLIC_1], ["127.0.0.1"])
    assert "a stream" == await network.dialer.open(PUBLIC, "rebind.example", 80)
    assert ["rebind.example"] == network.asked
    assert [(PUBLIC_1, 80)] == network.dialled


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "a loopback address"),
        ("10.0.0.1", "a private address"),
        ("169.254.169.254", "a metadata address"),
        ("fd00:ec2::254", "a metadata address"),
        ("::ffff:192.168.0.1", "a private address"),
        ("fe80::1%eth0", "a link-local address"),
        ("not an address", "an address that can't be checked"),
    ],
)
async def test_open_of_a_name_with_an_address_inside_is_refused(address, kind):
    """A name with a private address is refused, and the text does not show the address."""
    network = Network([address])
    with pytest.raises(EgressRefused) as refused:
        await network.dialer.open(PUBLIC, "innocent.example", 80)
    assert f"innocent.example:80 has {kind}, " in refused.value.text
    assert 'add "innocent.example:80" to network in the agent\'s config.' in refused.value.text
    assert address not in refused.value.text
    assert [] == network.dialled


async def test_open_of_a_name_with_one_bad_address_among_good_is_refused():
    """All addresses of a name must be public, not just the first."""
    network = Network([PUBLIC_1, "10.0.0.1"])
    with pytest.raises(EgressRefused):
        await network.dialer.open(PUBLIC, "mixed.example", 80)
    assert [] == network.dialled


async def test_open_of_an_address_of_this_host_is_refused():
    """The host's own public address is refused: services there may trust it."""
    network = Network([PUBLIC_1], own=[PUBLIC_1])
    with pytest.raises(EgressRefused, match="an address of this host"):
        await network.dialer.open(PUBLIC, "ours.example", 80)


async def test_open_of_a_host_that_is_named_goes_wherever_it_is():
    """A host that is listed exactly may have a private address."""
    network = Network(["10.0.0.1"], ["10.0.0.1"])
    policy = cap(parse(["db.corp"]), parse(["*", "db.corp:5432"]))
    assert "a stream" == await network.dialer.open(policy, "db.corp", 5432)
    with pytest.raises(EgressRefused, match=r"to network in this server's ash\.toml\."):
        await network.dialer.open(policy, "db.corp", 22)


async def test_open_of_a_host_behind_a_wildcard_has_to_be_public():
    """A host that only a wildcard matches must have a public address."""
    network = Network(["10.0.0.1"])
    with pytest.raises(EgressRefused):
        await network.dialer.open(parse(["*.example.com"]), "evil.example.com", 80)


async def test_open_of_a_host_that_is_not_listed_asks_no_name_server():
    """A refused name is not looked up: the question could carry a message out."""
    network = Network([PUBLIC_1])
    with pytest.raises(EgressRefused, match="is not a host that may be reached"):
        await network.dialer.open(parse(["example.com"]), "secret.evil.example", 443)
    assert [] == network.asked


async def test_open_tries_the_next_address():
    """A dead address is skipped; if all are dead, the error names only the host."""
    network = Network([PUBLIC_1, PUBLIC_2], [PUBLIC_1], dead=[PUBLIC_1])
    assert "a stream" == await network.dialer.open(PUBLIC, "two.example", 80)
    assert [(PUBLIC_1, 80), (PUBLIC_2, 80)] == network.dialled
    with pytest.raises(Unreachable, match=r"^two\.example:80 can't be connected to$"):
        await network.dialer.open(PUBLIC, "two.example", 80)


async def test_open_gives_up_after_a_few_addresses(autojump_clock):
    """A name with very many silent addresses costs only a few time-outs."""
    addresses = [f"93.184.215.{n}" for n in range(100)]
    dialer = Dialer(partial(_answer, addresses), _never, set().__contains__)
    with pytest.raises(Unreachable):
        await dialer.open(PUBLIC, "many.example", 80)
    assert 4 * CONNECT_SECONDS == trio.current_time()


async def _answer(addresses, host):
    return addresses


async def _never(*args):
    await trio.sleep_forever()


async def test_open_when_the_name_servers_are_silent_ends(autojump_clock):
    """A lookup without an answer is an error in bounded time."""
    with pytest.raises(Unreachable, match="the name servers do not answer"):
        await Dialer(_never).open(PUBLIC, "slow.example", 80)


async def test_open_of_a_name_that_does_not_exist_says_so():
    """No address is the same error, whether the lookup raises or returns nothing."""

    async def fails(host):
        raise socket.gaierror(-2, "Name or service not known")

    for resolve in (fails, partial(_answer, [])):
        with pytest.raises(Unreachable, match="there is no such host"):
            await Dialer(resolve).open(PUBLIC, "gone.example", 80)


async def test_resolver_gives_the_addresses_of_the_system():
    """Names are resolved as the system does, and addresses are not looked up."""
    assert "127.0.0.1" in await Resolver()("localhost")
    assert ["127.0.0.1"] == await Resolver()("127.0.0.1")


@pytest.mark.parametrize(
    "spelling",
    ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "017700000001", "::ffff:127.0.0.1", "0"],
)
async def test_open_refuses_every_spelling_of_this_machine(spelling):
    """Every spelling that the system reads as loopback is refused."""
    with pytest.raises(EgressRefused, match=r"has (a loopback|an) address"):
        await Dialer().open(PUBLIC, spelling, 80)
