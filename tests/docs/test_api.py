"""docs/api.md says what the server does: routes, fields, events, statuses, words."""

import ast
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from ash import errors
from ash.model import EventType, SessionStatus, TurnReason
from ash.requests.agents import DeployAgent, File
from ash.requests.messages import Options, SendMessage
from ash.requests.sessions import (
    ConfigureSession,
    CreateSession,
    ForkSession,
    RunCommand,
    UploadedFile,
    UploadFiles,
)
from ash.shapes import McpServer, OutputFormat, Thinking
from tests.support.routes import served

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def first_cells():
    """What stands in the first column of the page's tables."""
    return [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| ")]


def documented_routes():
    """The methods of each path on the page; a parameter is `{}`."""
    found = {}
    for cell in first_cells():
        if route := re.fullmatch(r"`([A-Z]+) (/\S*)`", cell):
            found.setdefault(re.sub(r"[:*]\w+", "{}", route[2]), set()).add(route[1])
    return found


def events_sent():
    """The name of each `Frame(name, …)` that the code makes."""
    for path in (ROOT / "ash").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Frame":
                name = node.args[0]
                # A variable is the name of a frame that is there already.
                if isinstance(name, ast.Constant):
                    yield name.value


def test_page_has_the_routes_that_are_served():
    """Every route is on the page, and every route on the page is served."""
    assert served() == documented_routes()


def test_page_has_the_events_that_are_sent():
    """Every event of a stream has its row, and every row is sent."""
    (table,) = re.findall(r"\| event \| data \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
    cells = [line.split("|")[1] for line in table.splitlines()]
    assert {*events_sent()} == {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_page_has_the_statuses_of_errors():
    """Every status that an error has is in the table, and no other is."""
    statuses = {kind.status for kind in vars(errors).values() if isinstance(kind, type)}
    assert statuses == {int(cell) for cell in first_cells() if cell.isdigit()}


@pytest.mark.parametrize(
    ("route", "shape"),
    [
        ("POST /api/agents", DeployAgent),
        ("POST /api/sessions", CreateSession),
        ("PATCH /api/sessions/:id/config", ConfigureSession),
        ("POST /api/sessions/:id/fork", ForkSession),
        ("POST /api/sessions/:id/messages", SendMessage),
        ("POST /api/sessions/:id/exec", RunCommand),
        ("POST /api/sessions/:id/files", UploadFiles),
        ("POST /api/sessions/:id/files", UploadedFile),
    ],
)
def test_row_of_a_route_has_the_fields_of_its_body(route, shape):
    """Every field that a body may have is in the row of its route."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{route}` |")]
    names = {field.encode_name for field in msgspec.structs.fields(shape)}
    assert set() == names - {*re.findall(r"\w+", row)}


@pytest.mark.parametrize("shape", [File, McpServer, Options, OutputFormat, Thinking])
def test_page_has_the_fields_of_inner_shapes(shape):
    """Every field of what is inside a body, and every option of a message, is on the page."""
    names = {field.encode_name for field in msgspec.structs.fields(shape)}
    assert set() == names - {*re.findall(r"\w+", PAGE)}


@pytest.mark.parametrize("words", [EventType, SessionStatus, TurnReason])
def test_page_has_every_word(words):
    """Every state, every type of event and every reason for an end is on the page as code."""
    assert set() == {*get_args(words)} - {*re.findall(r"`(\w+)`", PAGE)}
