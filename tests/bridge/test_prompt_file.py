"""What becomes the system prompt of a folder, and what of it is left out."""

import os

import pytest

from bridge import prompt_file
from bridge.engine import EngineError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An agent's folder, with a home and a neighbour outside of it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("folder", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / "rules.md").write_text("home's")
    (tmp_path / "outside.md").write_text("outside")
    return tmp_path / "folder"


@pytest.fixture
def write(folder):
    def write(name, text):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return write


def test_prompt_is_the_file(folder, write):
    """As it stands there, when it imports nothing."""
    write("CLAUDE.md", "You are a parrot.\n")
    prompt = prompt_file.read(folder)
    assert ("You are a parrot.\n", [folder / "CLAUDE.md"]) == (prompt.text, prompt.files)


def test_imports_follow_under_their_names(folder, write):
    """Each path starts at the file that names it; no file comes twice."""
    write("CLAUDE.md", "First @docs/a.md and then @docs/b.md")
    write("docs/a.md", "A, with @b.md and @../CLAUDE.md")
    write("docs/b.md", "B")
    prompt = prompt_file.read(folder)
    assert (
        "First @docs/a.md and then @docs/b.md\n\n"
        "Contents of docs/a.md:\n\nA, with @b.md and @../CLAUDE.md\n\n"
        "Contents of docs/b.md:\n\nB"
    ) == prompt.text
    names = ["CLAUDE.md", "docs/a.md", "docs/b.md"]
    assert names == [str(file.relative_to(folder)) for file in prompt.files]


def test_imports_end_at_the_fourth_file(folder, write):
    """As deep as the CLI goes, and the next one is named."""
    write("CLAUDE.md", "@1.md")
    for number in range(1, 6):
        write(f"{number}.md", f"number {number} @{number + 1}.md")
    prompt = prompt_file.read(folder)
    assert "number 4" in prompt.text
    assert "number 5" not in prompt.text
    assert ["@5.md is left out: imports go 4 files deep"] == prompt.left_out


@pytest.mark.parametrize("name", ["../outside.md", "~/rules.md", "link.md", "up/outside.md"])
def test_import_from_outside_is_left_out(folder, write, name):
    """By its path, the home directory or a link, and a sentence says so."""
    (folder / "link.md").symlink_to("../outside.md")
    (folder / "up").symlink_to("..")
    write("CLAUDE.md", f"See @{name}")
    prompt = prompt_file.read(folder)
    assert f"See @{name}" == prompt.text
    assert [f"@{name} is left out: it is outside of the agent's folder"] == prompt.left_out


def test_link_inside_the_folder_is_followed(folder, write):
    """What it imports starts at the file, not at the link."""
    write("shared/rules.md", "RULES @more.md")
    write("shared/more.md", "MORE")
    (folder / "rules.md").symlink_to("shared/rules.md")
    write("CLAUDE.md", "@rules.md")
    assert "MORE" in prompt_file.read(folder).text


def test_claude_md_may_be_a_link(folder, write):
    """Many folders keep one text for all tools."""
    write("AGENTS.md", "For all.")
    (folder / "CLAUDE.md").symlink_to("AGENTS.md")
    assert "For all." == prompt_file.read(folder).text


def test_what_is_no_text_is_left_out(folder, write):
    """A pipe is not waited for, and a missing file is named if it looks like one."""
    os.mkfifo(folder / "pipe.md")
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    (folder / "docs").mkdir()
    write("CLAUDE.md", "@pipe.md @picture.png @docs @missing.md @alice @" + "x" * 300)
    assert [
        "@pipe.md is left out: it is not a file",
        "@picture.png is left out: it is not text in UTF-8",
        "@missing.md is not there",
        f"@{'x' * 300} is left out: File name too long",
    ] == prompt_file.read(folder).left_out


@pytest.mark.parametrize("text", [None, "", " \n", "<!-- later -->\n"])
def test_folder_without_instructions_has_no_prompt(folder, write, text):
    """A file that is missing or says nothing."""
    if text is not None:
        write("CLAUDE.md", text)
    assert prompt_file.read(folder) is None


def _pipe(file):
    os.mkfifo(file)


def _outside(file):
    file.symlink_to("../outside.md")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_pipe, "it is not a file"),
        (_outside, "it is outside of the agent's folder"),
        (lambda file: file.mkdir(), "Is a directory"),
        (lambda file: file.write_text("You are", encoding="utf-16"), "it is not text in UTF-8"),
        (lambda file: file.write_bytes(b"a\0b"), "it is not text"),
        (lambda file: file.write_bytes(b"x" * 4194305), "it is larger than 4 MB"),
    ],
)
def test_prompt_that_cannot_be_read_is_an_error(folder, make, words):
    """Not an agent without instructions: the error says what is wrong and what to do."""
    make(folder / "CLAUDE.md")
    with pytest.raises(EngineError, match=rf"^CLAUDE.md can't be .*: {words}\. Put a readable"):
        prompt_file.read(folder)


def test_byte_order_mark_is_not_part_of_it(folder):
    """As editors on Windows write it."""
    (folder / "CLAUDE.md").write_text("You are", encoding="utf-8-sig")
    assert "You are" == prompt_file.read(folder).text


def test_sessions_own_prompt_imports_from_the_folder(folder, write):
    """Whatever CLAUDE.md says."""
    write("CLAUDE.md", "the agent's")
    write("a.md", "A")
    prompt = prompt_file.read(folder, "mine, with @a.md")
    assert "mine, with @a.md\n\nContents of a.md:\n\nA" == prompt.text
    assert [folder / "CLAUDE.md", folder / "a.md"] == prompt.files


def test_sessions_own_prompt_replaces_the_file(folder, write):
    """A link is replaced, not written through; the log says so once."""
    write("AGENTS.md", "For all.")
    (folder / "CLAUDE.md").symlink_to("AGENTS.md")
    log = []
    for _ in range(2):
        prompt_file.put("mine", folder, log.append)
    assert ("mine", "For all.") == tuple(
        (folder / name).read_text() for name in ("CLAUDE.md", "AGENTS.md")
    )
    assert not (folder / "CLAUDE.md").is_symlink()
    assert ["CLAUDE.md is the session's systemPrompt now"] == log


def test_prompt_that_cannot_be_shown_is_said(folder):
    """It holds all the same, so this is no error."""
    (folder / "CLAUDE.md").mkdir()
    log = []
    prompt_file.put("mine", folder, log.append)
    assert ["CLAUDE.md can't show the session's systemPrompt: Is a directory"] == log
    assert [folder / "CLAUDE.md"] == list(folder.iterdir())
