"""The logs of sessions in the store."""

from ash.model import LogLine
from ash.store import sandboxes


def lines(*texts):
    return [("stdout", text, "2026-01-01T00:00:00.000Z") for text in texts]


async def test_logs_read_back(store, session_id):
    """Lines are numbered from 0 over all appends."""
    await store.append_logs(session_id, [("stderr", "a\x1b[0m ü", "2026")])
    await store.append_logs(session_id, [("system", "", "2027")])
    assert [
        LogLine(index=0, level="stderr", text="a\x1b[0m ü", ts="2026"),
        LogLine(index=1, level="system", text="", ts="2027"),
    ] == await store.logs("default", session_id)


async def test_logs_after_a_line(store, session_id):
    """Reading begins after `after` and returns at most `limit` lines."""
    await store.append_logs(session_id, lines("a", "b", "c", "d"))
    page = await store.logs("default", session_id, after=1, limit=1)
    assert [(2, "c")] == [(line.index, line.text) for line in page]


async def test_logs_trimmed(store, session_id, monkeypatch):
    """Only the last lines are kept, and their numbers stay."""
    monkeypatch.setattr(sandboxes, "KEPT_LINES", 3)
    await store.append_logs(session_id, lines("a", "b"))
    await store.append_logs(session_id, lines("c", "d", "e"))
    kept = await store.logs("default", session_id)
    assert [(2, "c"), (3, "d"), (4, "e")] == [(line.index, line.text) for line in kept]


async def test_logs_trimmed_for_one_session(store, create, monkeypatch):
    """Trimming one session's log does not touch another's."""
    monkeypatch.setattr(sandboxes, "KEPT_LINES", 1)
    quiet, loud = await create(), await create()
    await store.append_logs(quiet, lines("a"))
    await store.append_logs(loud, lines("b", "c"))
    assert 1 == len(await store.logs("default", quiet))


async def test_logs_trimmed_by_their_size(store, session_id, monkeypatch):
    """Long lines take the place of more short ones."""
    monkeypatch.setattr(sandboxes, "KEPT_BYTES", 900)
    await store.append_logs(session_id, lines(*"abc"))
    await store.append_logs(session_id, lines("d" * 700, "e"))
    kept = await store.logs("default", session_id)
    assert [3, 4] == [line.index for line in kept]


async def test_logs_of_an_ended_session_are_shortened(store, session_id, monkeypatch):
    """What tells why it ended stays."""
    monkeypatch.setattr(sandboxes, "KEPT_AT_END", 200)
    await store.append_logs(session_id, lines(*"abcd"))
    await store.shorten_logs(session_id)
    assert ["c", "d"] == [line.text for line in await store.logs("default", session_id)]


async def test_many_lines_are_written_in_parts(store, session_id):
    """So that other writes get their turn."""
    await store.append_logs(session_id, lines(*map(str, range(1000))))
    kept = await store.logs("default", session_id)
    assert list(range(1000)) == [line.index for line in kept]


def test_limits_of_a_log():
    """What the documentation says is kept."""
    assert (10_000, 8 * 1024 * 1024) == (sandboxes.KEPT_LINES, sandboxes.KEPT_BYTES)


async def test_logs_of_another_tenant(store, session_id):
    """Lines of another tenant are not found."""
    await store.append_logs(session_id, lines("a"))
    assert [] == await store.logs("other", session_id)
