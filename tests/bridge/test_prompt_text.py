"""What of a CLAUDE.md reaches the model, and which files it imports: as CLI 2.1.329 does it."""

import pytest

from bridge.prompt_text import parse


@pytest.mark.parametrize(
    ("text", "imports"),
    [
        ("See @a.md", ["a.md"]),
        ("@a.md and @./b/c.md\n@/d.md @~/e.md", ["a.md", "./b/c.md", "/d.md", "~/e.md"]),
        ("@a.md#part twice: @a.md", ["a.md"]),
        (r"@my\ rules.md", ["my rules.md"]),
        ("**@a.md** _@b.md_ [@c.md](x) <b>@d.md</b>", ["a.md", "b.md", "c.md", "d.md"]),
        ("@_private.md @a_b_c.md", ["_private.md", "a_b_c.md"]),
        ("# Head @a.md\n> quote @b.md\n| cell @c.md |", ["a.md", "b.md", "c.md"]),
        ("- item @a.md\n\n    @b.md of the item", ["a.md", "b.md"]),
        ("ash@example.com, (@a.md), @, @#x, @@a", []),
    ],
)
def test_at_and_a_path_is_an_import(text, imports):
    """Wherever the path stands in a sentence, a list, a quotation or a table."""
    assert imports == parse(text)[1]


@pytest.mark.parametrize(
    "text",
    [
        "`@a.md` and `` @b.md ` ``",
        "```\n@a.md\n```",
        "~~~md\n@a.md\n```\n@b.md\n~~~",
        "- item\n  ```\n  @a.md\n  ```",
        "    @a.md by its indentation\n    @b.md",
        "<div>\n@a.md\n</div>",
        "<!-- @a.md -->",
        "in a line <!-- @a.md\n@b.md --> of text",
        "<!-- never closed @a.md\n@b.md",
        "```\nnever closed @a.md",
    ],
)
def test_code_comments_and_html_import_nothing(text):
    """What stands in them is an example, or for people."""
    assert [] == parse(text)[1]


def test_import_after_code_or_a_comment_counts():
    """What ends code or a comment ends it for imports too."""
    text = "```\n@no.md\n```\n@a.md\n<!--\n@no.md\n--> @b.md\n\n<p>\n@no.md\n\n@c.md\n"
    assert ["a.md", "b.md", "c.md"] == parse(text)[1]


def test_front_matter_and_comments_are_not_for_the_model():
    """A comment on lines of its own goes with its lines, one in code stays."""
    text = "---\npaths: x\n---\nOne.\n<!-- two\nthree -->\nFour.\n```\n<!-- five -->\n```\n"
    assert "One.\nFour.\n```\n<!-- five -->\n```\n" == parse(text)[0]


def test_text_without_any_of_it_stays_as_it_is():
    """To the last space and line end."""
    text = "You are a parrot. \r\n\n--- \n\tSay  so.\n"
    assert (text, []) == parse(text)
