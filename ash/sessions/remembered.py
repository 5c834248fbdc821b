"""What is stored of an agent's conversation: for forks, and for transcripts that are lost.

The messages are what the agent's CLI wrote, so their fields may hold anything.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from ash.log import get_logger
from ash.model import Message
from ash.protocol import is_uuid, with_whole_characters
from ash.store import Store

log = get_logger()

# What a conversation is restored from, at most. A model reads no more than some MB at once.
HISTORY_BYTES = 8 * 1024 * 1024

# Messages that are read at once, and in search of the last that the agent said.
PAGE = 20
SEARCHED = 1000


class Said(Struct, frozen=True):
    """The agent's last message: its uuid, and the conversation it belongs to.

    Both are None if there is none; `cleared` says whether that is because of a `/clear`.
    """

    uuid: str | None = None
    conversation: str | None = None
    cleared: bool = False


NOTHING = Said()


class _Body(Struct):
    model: Any = None


class _Head(Struct):
    type: Any = None
    subtype: Any = None
    uuid: Any = None
    session_id: Any = None
    parent_tool_use_id: Any = None
    message: _Body | None = None

    @property
    def is_said(self) -> bool:
        """Whether it is part of the conversation with the model, and of no subagent's."""
        return self.parent_tool_use_id is None and self.type in {"user", "assistant"}

    @property
    def is_synthetic(self) -> bool:
        """Whether the CLI wrote it in the model's place."""
        return self.message is not None and self.message.model == "<synthetic>"


_decode = msgspec.json.Decoder(_Head).decode


async def last_stored(store: Store, session_id: str) -> Said:
    """The last that the agent said in a finished turn."""
    return await last_said(store, session_id, await store.finished_up_to(session_id) + 1)


async def last_said(store: Store, session_id: str, before: int) -> Said:
    """The last that the agent said before the message with that sequence."""
    stop = max(before - SEARCHED, 1)
    while before > stop:
        page = await store.latest_messages(session_id, before=before, limit=PAGE)
        for message in page:
            if (said := _said(message)) is not None:
                return said
        before = page[-1].sequence if page else stop
    return Said()


async def history(store: Store, session_id: str) -> list[Raw]:
    """The messages of finished turns since the last `/clear` or compaction, in their order.

    If they are too many, the older ones are left out. If the store fails, there are none: that
    must not end the sandbox.
    """
    try:
        return await _history(store, session_id)
    except Exception:
        log.exception("session.history_failed", session=session_id)
        return []


async def _history(store: Store, session_id: str) -> list[Raw]:
    before = await store.finished_up_to(session_id) + 1
    room, taken = HISTORY_BYTES, list[Message]()
    while before > 1 and room > 0:
        page = await store.latest_messages(session_id, before=before, limit=PAGE)
        for message in page:
            head = _head(message)
            if _begins(head) or (room := room - len(message.content)) < 0:
                return _in_order(taken)
            if message.role == "user" or (head.is_said and not head.is_synthetic):
                taken.append(message)
        before = page[-1].sequence if page else 1
    return _in_order(taken)


def _in_order(newest_first: list[Message]) -> list[Raw]:
    """Without what comes before the first prompt: the result of a tool whose call is missing."""
    ordered = newest_first[::-1]
    while ordered and ordered[0].role != "user" and _head(ordered[0]).type != "user":
        del ordered[0]
    return [Raw(message.content.encode()) for message in ordered]


def _said(message: Message) -> Said | None:
    if message.role == "user":
        return None
    head = _head(message)
    if head.type == "conversation_reset":
        return Said(cleared=True)
    if head.type != "assistant" or not head.is_said or not isinstance(head.uuid, str):
        return None
    return Said(head.uuid, head.session_id if is_uuid(head.session_id) else None)


def _begins(head: _Head) -> bool:
    """Whether the model knows nothing of what came before."""
    return bool(head.type == "conversation_reset" or head.subtype == "compact_boundary")


def _head(message: Message) -> _Head:
    try:
        try:
            return _decode(message.content)
        except msgspec.DecodeError:
            return _decode(with_whole_characters(message.content.encode()))
    except (msgspec.DecodeError, RecursionError):
        return _Head()
