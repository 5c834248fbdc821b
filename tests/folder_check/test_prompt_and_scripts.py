import pytest


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("You help.".encode("utf-16"), "this is UTF-16; save it as UTF-8"),
        (b"caf\xe9", "this is not UTF-8; save the file as UTF-8"),
        (b"x" * (4 * 1024 * 1024 + 1), "larger than 4 MB; the CLI would leave it out"),
    ],
)
def test_prompt_that_the_cli_leaves_out_is_an_error(check, content, why):
    """An agent without its instructions is another agent."""
    [said] = check({"CLAUDE.md": content})
    assert said.startswith("error CLAUDE.md:1:")
    assert said.endswith(why)


def test_prompt_of_four_megabytes_is_accepted(check):
    """The CLI reads up to that."""
    assert [] == check({"CLAUDE.md": b"x" * (4 * 1024 * 1024)})


def test_prompt_with_a_nul_in_it_is_an_error(check):
    """No model reads it."""
    why = "a NUL can't be part of a prompt; save the file without it"
    assert [f"error CLAUDE.md:2:4: {why}"] == check({"CLAUDE.md": "You\nare\0"})


@pytest.mark.parametrize("content", ["", " \n\t\r\n", "\ufeff\n"])
def test_prompt_without_a_word_is_a_warning(check, content):
    """The agent would be Claude Code."""
    said = "warning CLAUDE.md:1:1: it is empty; the model gets Claude Code's own prompt"
    assert [said] == check({"CLAUDE.md": content})


def test_imports_that_are_lost_are_warnings(check):
    """Those from outside of the folder, and those that are not there, also in imported files."""
    text = "See @../team.md and @~/rules.md.\n- @missing.md @docs/a.md @alice\n"
    said = check({"CLAUDE.md": text, "docs/a.md": "@../b.md @../../c.md", "b.md": "fine"})
    outside = "is outside of the folder; it is left out of the prompt"
    assert [
        f"warning CLAUDE.md:1:5: @../team.md {outside}",
        f"warning CLAUDE.md:1:21: @~/rules.md. {outside}",
        "warning CLAUDE.md:2:3: @missing.md is not there; it is left out of the prompt",
        f"warning docs/a.md:1:10: @../../c.md {outside}",
    ] == said


def test_import_in_code_or_in_a_comment_is_none(check):
    """The CLI does not follow it."""
    text = "`@a.md`\n```\n@b.md\n```\n<!-- @c.md -->\n~~~sh\n@d.md\n~~~\nmail x@e.md\n"
    assert [] == check({"CLAUDE.md": text})


def test_import_through_a_link_that_leads_out_counts_as_missing(check, tmp_path):
    """No file outside of the folder is read."""
    (tmp_path / "out.md").symlink_to("/etc/hostname")
    [said] = check({"CLAUDE.md": "@out.md"})
    assert said.startswith("warning CLAUDE.md:1:1: @out.md is not there")


def test_imports_are_followed_four_files_deep_and_once(check):
    """As the CLI does; a circle ends."""
    files = {f"{depth}.md": f"@{depth + 1}.md @CLAUDE.md" for depth in range(1, 7)}
    [said] = check({"CLAUDE.md": "@1.md", **files})
    assert "warning 4.md:1:1: @5.md is left out: imports go 4 files deep" == said


def test_scripts_with_windows_line_ends_and_other_interpreters_are_warnings(check):
    """Both run with bash, which takes a CR as part of a word."""
    said = check({"install.sh": "#!/usr/bin/env python3\nx\r\n", "startup.sh": "#!/bin/sh\n"})
    line_ends = "Windows line ends (CRLF): bash would read the CR as part of each word"
    interpreter = "the line #!/usr/bin/env python3 has no effect: install.sh always runs with bash"
    assert [
        f"warning install.sh:2:2: {line_ends}",
        f"warning install.sh:1:1: {interpreter}",
    ] == said
