"""What a log line looks like, and what never stands in one."""

import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from ash.errors import Unavailable
from ash.log import configure, get_logger


@pytest.fixture
def stream():
    """Takes what is logged."""
    return io.StringIO()


@pytest.fixture
def lines(stream):
    """Logs as JSON; gives a function that returns the lines so far."""
    configure("info", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_json_line(lines):
    """An event is one line: time in UTC with milliseconds, level, action, then its fields."""
    structlog.get_logger().info("session.created", session_id="s1")

    (line,) = lines()
    assert list(line) == ["timestamp", "level", "action", "session_id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["level"], line["action"], line["session_id"]) == ("info", "session.created", "s1")


def test_level_below_the_configured_one(lines):
    """What is less severe than the level is left out, from us and from others."""
    structlog.get_logger().debug("noise")
    logging.getLogger("other").debug("noise")

    assert lines() == []


def test_exception_is_one_line(lines):
    """A traceback is a field, not lines of its own."""
    structlog.get_logger().error("turn.failed", exc_info=ValueError("boom"))

    (line,) = lines()
    assert line["exception"].endswith("ValueError: boom")


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_failure_that_has_words_is_told_in_them(lines, groups):
    """What a caller is told needs no stack; what it comes from is named."""
    error = Unavailable("The disk is full")
    error.__cause__ = OSError("no space")
    for _ in range(groups):
        error = ExceptionGroup("", [error])
    structlog.get_logger().error("turn.broken", exc_info=error)

    (line,) = lines()
    assert ("The disk is full", "OSError('no space')") == (line["why"], line["cause"])
    assert not {"exception", "exc_info"} & line.keys()


def test_standard_library_record(lines):
    """A record of another package has its logger's name as action and its message as text."""
    logging.getLogger("hypercorn.error").warning("Running on %s", "x")

    (line,) = lines()
    assert (
        line["level"],
        line["action"],
        line["text"],
    ) == ("warning", "hypercorn.error", "Running on x")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_key", "topsecret"),
        ("key", b"topsecret"),
        ("Authorization", "Basic topsecret"),
        ("x-api-key", "topsecret"),
        ("headers", {"authorization": "topsecret", "Cookie": "topsecret"}),
        ("tokens", [{"refresh_token": "topsecret"}]),
        ("text", "sent Authorization: Bearer topsecret to it"),
        ("text", "used sk-ant-topsecret"),
        ("text", f"used ash_topsecret{'x' * 32}"),
        ("path", "/api/sessions/1/stream?after=3&ticket=topsecret"),
    ],
)
def test_secret_by_its_name_or_its_looks(lines, stream, field, value):
    """A secret is hidden wherever it stands; that there was one is shown."""
    structlog.get_logger().info("request", **{field: value})

    assert "topsecret" not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_secret_in_an_exception(lines, stream):
    """A traceback that quotes a key does not show it."""
    logging.getLogger("other").error("x", exc_info=ValueError("Bearer topsecret"))

    assert "ValueError: Bearer ***" in lines()[0]["exception"]


def test_fields_that_only_sound_like_secrets(lines):
    """Counts and prefixes stay readable."""
    structlog.get_logger().info("usage", input_tokens=3, key_prefix="ash_1234")

    assert lines()[0]["input_tokens"] == 3
    assert lines()[0]["key_prefix"] == "ash_1234"


@pytest.mark.parametrize(
    ("form", "out", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("console", io.StringIO, False),
    ],
)
def test_format(stream, form, out, is_json):
    """`auto` is readable on a terminal and JSON otherwise; the others say what they are."""
    target = out()
    configure("info", form, target)

    structlog.get_logger().info("session.created")

    assert target.getvalue().startswith("{") == is_json
    assert "session.created" in target.getvalue()


def test_console_quotes_control_characters(stream):
    """What an agent printed can't steer the terminal that shows the log."""
    configure("info", "console", stream)

    structlog.get_logger().info("sandbox.log", text="\x1b[2Jgone", more="a\nfake line")

    assert "\x1b[2J" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_program_that_sets_up_nothing_gets_records(caplog, capsys):
    """What embeds ash finds its log in the standard library's, and nothing on stdout."""
    with caplog.at_level("INFO"):
        get_logger().info("session.created", session="s1", api_key="sk-ant-x")
        get_logger().error("turn.failed", share="5 %", exc_info=ValueError("100 %s"))

    assert [
        ("ash", "INFO", "session.created session='s1' api_key='***'"),
        ("ash", "ERROR", "turn.failed share='5 %'"),
    ] == [(record.name, record.levelname, record.getMessage()) for record in caplog.records]
    assert "ValueError: 100 %s" in caplog.text
    assert ("", "") == capsys.readouterr()


def test_program_that_sets_structlog_up_gets_events(lines):
    """Whenever it does so, before or after ash is imported."""
    get_logger().info("session.created", session="s1")

    assert "session.created" == lines()[0]["action"]


def test_requests_of_the_proxy_are_no_lines(lines):
    """In the daemon; what a program does that embeds ash is its own business."""
    logging.getLogger("httpx").info("HTTP Request: POST https://model/")

    assert [] == lines()


LOGS = """
import logging, structlog
from ash.log import configure
configure("info", "json")
structlog.get_logger().info("session.created")
logging.getLogger("other").warning("noise")
print("goes on")
"""


def test_full_disk_ends_nobody_who_logs():
    """A line that can't be written is lost, and no error of whoever has written it."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", LOGS], stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert (0, b"goes on\n") == (done.returncode, done.stdout)
