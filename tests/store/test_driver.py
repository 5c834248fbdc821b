"""What every driver promises, whatever is stored."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.store import OwnershipLost, StoreClosed
from ash.store.driver import Statement
from ash.store.schema import load

KEYS = load("keys")


def adding(key_id, digest=None):
    params = {
        "id": key_id,
        "tenant": "default",
        "label": None,
        "key_prefix": "",
        "digest": digest or key_id.encode(),
        "created_at": "",
    }
    return Statement(KEYS["add_key"], params)


def deleting(key_id, expect):
    return Statement(KEYS["delete_key"], {"id": key_id, "tenant": "default"}, expect=expect)


@pytest.fixture
def driver(store):
    return store._driver


@pytest.fixture
def kept(driver):
    async def kept():
        return set(await driver.fetch(KEYS["keys"], {}, lambda row: row["id"]))

    return kept


async def test_unit_returns_rows(driver):
    """A unit returns the rows of each statement."""
    await driver.write([adding("a")])
    added, deleted, missed = await driver.write(
        [adding("b"), deleting("a", expect=1), deleting("x", expect=0)]
    )
    assert ([], ["a"], []) == (added, [row["id"] for row in deleted], missed)


async def test_unit_without_statements(driver):
    """An empty unit is committed at once."""
    assert [] == await driver.write([])


async def test_unit_that_expected_more(driver, kept):
    """A statement that changes fewer rows than expected undoes its whole unit."""
    with pytest.raises(OwnershipLost, match="delete_key"):
        await driver.write([adding("a"), deleting("x", expect=1), adding("b")])
    assert set() == await kept()


async def test_unit_that_breaks_a_rule(driver, kept):
    """A statement that breaks a constraint undoes its whole unit."""
    with pytest.raises(Exception, match="UNIQUE"):
        await driver.write([adding("a", b"same"), adding("b", b"same")])
    assert set() == await kept()


async def test_unit_that_can_not_be_encoded(driver, kept):
    """Text that can't be encoded as UTF-8 undoes its unit and no other."""
    with pytest.raises(UnicodeEncodeError):
        await driver.write([adding("a"), adding("\ud83d", b"half")])
    await driver.write([adding("b")])
    assert {"b"} == await kept()


async def test_units_of_many(driver, kept):
    """Concurrent writers each get their own result; a failing one does not affect others."""
    failed = set()

    async def write(number):
        try:
            await driver.write([adding(f"{number}"), deleting("x", expect=number % 2)])
        except OwnershipLost:
            failed.add(number)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(write, number)
    assert set(range(1, 100, 2)) == failed
    assert {f"{number}" for number in range(0, 100, 2)} == await kept()


async def test_read_after_write(driver):
    """A point read sees every write that has returned."""
    query = load("agents")["agent"]
    deploy = load("agents")["deploy_agent"]
    unset = dict.fromkeys(("env", "description", "model", "config"))
    for number in range(50):
        params = {"tenant": "default", "name": f"{number}"}
        given = {"id": f"{number}", "path": "", "source": "", "now": ""}
        await driver.write([Statement(deploy, {**params, **given, **unset})])
        assert 1 == await driver.fetch_one(query, params, lambda row: row["version"])


async def test_write_of_cancelled_caller(driver, kept):
    """A caller that is already cancelled writes nothing."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await driver.write([adding("a")])
    await driver.write([adding("b")])
    assert {"b"} == await kept()


async def test_fetch_whose_build_fails(driver, kept):
    """An error of `build` is raised to the reader; the next read works."""
    await driver.write([adding("a")])
    with pytest.raises(IndexError, match="No item"):
        await driver.fetch(KEYS["keys"], {}, lambda row: row["nothing"])
    assert {"a"} == await kept()


async def test_reads_and_writes_after_the_end(opener):
    """A closed store refuses reads and writes with an error that says so."""
    async with opener() as store:
        pass
    for late in (
        store.session_by_id("a"),
        store.keys(),
        store.delete_key("default", "a"),
    ):
        with pytest.raises(StoreClosed, match="The store is closed"):
            await late


async def test_block_that_fails(opener):
    """An error of the block is raised unchanged, and the store closes."""
    with pytest.raises(ValueError, match="mine"):
        async with opener() as store:
            raise ValueError("mine")
    with pytest.raises(StoreClosed):
        await store.keys()


async def test_block_that_is_cancelled(opener):
    """Writes in a shielded scope at the end of a cancelled block are stored."""
    with trio.CancelScope() as scope:
        async with opener() as store:
            scope.cancel()
            with trio.CancelScope(shield=True):
                await wait_all_tasks_blocked()
                await store._driver.write([adding("last")])
            await trio.sleep_forever()
    async with opener() as store:
        assert ["last"] == [key.id for key, _ in await store.keys()]


async def test_block_cancelled_while_it_opens(opener):
    """A store that is cancelled while it opens is closed."""
    with trio.fail_after(5), trio.CancelScope() as scope:
        trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
        async with opener() as store:
            await trio.sleep_forever()
    with pytest.raises(StoreClosed):
        await store.keys()
