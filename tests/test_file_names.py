"""Names of files that are not UTF-8, as text."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.file_names import as_text, spelled, unspelled

MARK = "\N{REPLACEMENT CHARACTER}"


@given(st.binary() | st.text().map(str.encode) | st.text(f"{MARK}E9é\udce9").map(os.fsencode))
def test_spelling_leads_back_to_the_name(name):
    """Every name has a spelling that is text, and that leads to this name only."""
    text = spelled(os.fsdecode(name))
    text.encode()
    assert name == os.fsencode(unspelled(text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain \xc3\xa9 100%E9", "plain é 100%E9"),
        (b"caf\xe9.txt", f"caf{MARK}E9.txt"),
        (b"\xff\xfe", f"{MARK}FF{MARK}FE"),
        (MARK.encode(), MARK),
        (f"{MARK}E9".encode(), f"{MARK}EF{MARK}BF{MARK}BDE9"),
    ],
)
def test_only_what_is_not_utf_8_is_spelled(name, text):
    """Any other name is its own spelling, but for one that looks spelled."""
    assert text == spelled(os.fsdecode(name))


def test_text_of_a_caller_keeps_its_spelling():
    """Python's half surrogates are spelled; what is spelled already stays."""
    assert f"{MARK}E9 {MARK}E9 x" == as_text(f"\udce9 {MARK}E9 x")
