import pytest

from ash.typos import meant

KNOWN = ["network", "model", "limits", "env", "systemPrompt", "path"]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("netwrok", "network"),
        ("netwerc", "network"),
        ("modle", "model"),
        ("limit", "limits"),
        ("evn", "env"),
        ("system_prompt", "systemPrompt"),
        ("Model", "model"),
        ("pathh", "path"),
    ],
)
def test_typo_is_recognised(word, name):
    """Letters that are swapped, added, dropped or replaced, and other ways of writing."""
    assert name == meant(word, KNOWN)


@pytest.mark.parametrize("word", ["colour", "netti", "moxxe", "e", "", "pth2x", "team"])
def test_other_name_is_no_typo(word):
    """A name of its own is not taken for a known one."""
    assert meant(word, KNOWN) is None
