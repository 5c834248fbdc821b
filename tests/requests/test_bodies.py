"""The bodies that clients send: what is taken, and in which words the rest is refused."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ash.errors import BadRequest
from ash.requests.agents import DeployAgent, File
from ash.requests.messages import (
    MAX_BLOCKS,
    MAX_CONTENT,
    SendMessage,
    check_content,
    message_query,
)
from ash.requests.parsing import decode
from ash.requests.sessions import ConfigureSession, CreateSession

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def read(shape, **fields):
    return decode(json.dumps(fields).encode(), msgspec.json.Decoder(shape))


def refusal(shape, body):
    """The words with which a body is refused."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadRequest) as refused:
        decode(data, msgspec.json.Decoder(shape))
    return refused.value.text


def content(value):
    """The content of a message as it goes to the bridge."""
    return bytes(check_content(Raw(value)))


@pytest.mark.parametrize(
    ("shape", "body", "words"),
    [
        (SendMessage, {}, "content: this field is required"),
        (SendMessage, b"", "content: this field is required"),
        (SendMessage, [], 'body: expected "object", got "array"'),
        (SendMessage, {"content": "a", "maxTurns": 0}, 'maxTurns: expected "int" >= 1'),
        (
            SendMessage,
            {"content": "a", "maxTurns": 1.5},
            'maxTurns: expected "int | null", got "float"',
        ),
        (SendMessage, {"content": "a", "maxBudgetUsd": 0}, 'maxBudgetUsd: expected "float" > 0.0'),
        (
            SendMessage,
            {"content": "a", "effort": "huge"},
            "effort: expected one of low, medium, high, max",
        ),
        (
            SendMessage,
            {"content": "a", "thinking": {"type": "on"}},
            "thinking.type: expected one of adaptive, enabled, disabled",
        ),
        (
            SendMessage,
            {"content": "a", "outputFormat": {"type": "json_schema"}},
            "outputFormat.schema: this field is required",
        ),
        (SendMessage, b'{"content":', "The body is not valid JSON: Input data was truncated"),
        (SendMessage, b"[" * 5000 + b"]" * 5000, 'body: expected "object", got "array"'),
        (
            SendMessage,
            b'{"content":' + b"[" * 5000 + b"]" * 5000 + b"}",
            "The body is nested too deeply",
        ),
        (CreateSession, {}, "agent: this field is required"),
        (CreateSession, {"agent": ""}, 'agent: expected "str" of length >= 1'),
        (
            CreateSession,
            {"agent": "a", "permissionMode": "yolo"},
            "permissionMode: expected one of bypassPermissions, permissionsByAgent, default",
        ),
        (
            CreateSession,
            {"agent": "a", "allowedTools": [1]},
            'allowedTools[0]: expected "str", got "int"',
        ),
        (
            CreateSession,
            {"agent": "a", "mcpServers": {"x": {"type": "ftp"}}},
            "mcpServers[...].type: expected one of http, sse, stdio",
        ),
        (
            CreateSession,
            {"agent": "a", "extraEnv": {"1X": ""}},
            """extraEnv: expected "str" matching regex '^[A-Za-z_][A-Za-z0-9_]*$'""",
        ),
        (CreateSession, {"agent": "a", "extraEnv": {"X": None}}, "extraEnv[...]: expected"),
        (
            CreateSession,
            {"agent": "a", "extraEnv": None},
            'extraEnv: expected "object", got "null"',
        ),
        (
            CreateSession,
            {"agent": "a", "limits": {"memoryMb": 63}},
            'limits.memoryMb: expected "int" >= 64',
        ),
        (ConfigureSession, {"betas": "x"}, 'betas: expected "array | null", got "str"'),
        (
            DeployAgent,
            {"name": "a b"},
            """name: expected "str" matching regex '^[a-zA-Z0-9_-]+$'""",
        ),
        (DeployAgent, {"name": "a" * 256}, 'name: expected "str" of length <= 255'),
        (DeployAgent, {"name": "a", "files": []}, 'files: expected "array" of length >= 1'),
        (
            DeployAgent,
            {"name": "a", "files": [{"path": "x", "content": "", "mode": 755}]},
            'files[0].mode: expected "str | null", got "int"',
        ),
        (
            DeployAgent,
            {"name": "a", "files": [{"path": "x", "content": "", "mode": "044"}]},
            """files[0].mode: expected "str" matching regex '^0?[4-7][0-7]{2}$'""",
        ),
    ],
)
def test_refusal_names_the_field_and_its_rule(shape, body, words):
    """A caller can act on the error: it says where, and what would be right."""
    assert refusal(shape, body).startswith(words)


@pytest.mark.parametrize("name", ["a\n", "a/b", "..", "ä", "a\0", ""])
def test_name_of_an_agent_is_a_plain_word(name):
    """A name goes into paths and addresses, so there is nothing in it to be quoted."""
    assert refusal(DeployAgent, {"name": name}).startswith("name: ")


@pytest.mark.parametrize("env", [{"A\n": "x"}, {"A=B": "x"}, {"": "x"}, {"A": "x\0y"}])
def test_environment_says_nothing_but_variables(env):
    """A name has no sign in it, a value no NUL: after one another option would begin."""
    assert refusal(CreateSession, {"agent": "a", "extraEnv": env}).startswith("extraEnv")
    assert refusal(DeployAgent, {"name": "a", "env": env}).startswith("env")


def test_value_of_a_variable_may_be_any_text():
    """Lines, signs and other alphabets are fine."""
    value = "a=b\n$HOME 'ü' \r\n"
    assert {"A": value} == read(DeployAgent, name="a", env={"A": value}).env


def test_unknown_fields_are_ignored():
    """A newer client says more, and works all the same."""
    body = read(CreateSession, agent="a", colour="red", credentialId="c")
    assert read(CreateSession, agent="a") == body


def test_fields_are_in_camel_case():
    """The names are those of the contract."""
    body = read(SendMessage, content="x", includePartialMessages=True, maxBudgetUsd=0.5, maxTurns=2)
    assert (True, 0.5, 2) == (body.include_partial_messages, body.max_budget_usd, body.max_turns)


@given(TEXT)
def test_text_goes_to_the_agent_as_it_was_written(text):
    """Any text in any spelling is one line of JSON, byte for byte what was sent."""
    for ascii_only in (True, False):
        sent = json.dumps(text, ensure_ascii=ascii_only).encode()
        body = b'{ "content" : ' + sent + b' , "model":"m"}'
        got = check_content(decode(body, msgspec.json.Decoder(SendMessage)).content)
        assert sent == bytes(got)


def test_text_has_a_limit_in_characters():
    """500,000 characters are taken, whatever bytes they have; one more is refused."""
    longest = json.dumps("é" * MAX_CONTENT).encode()
    assert longest == content(longest)
    with pytest.raises(BadRequest, match="up to 500000 characters is allowed, not 500001"):
        content(json.dumps("e" * (MAX_CONTENT + 1)).encode())


def test_blocks_are_one_line():
    """A body may be laid out as its writer likes; line ends between its tokens become blanks."""
    sent = b'[\n {"type": "text",\r\n  "text": "a\\nb"}\n]'
    assert b'[  {"type": "text",\r   "text": "a\\nb"} ]' == content(sent)


@pytest.mark.parametrize("kind", ["text", "image", "document"])
def test_blocks_of_the_contract_are_taken(kind):
    """What is in a block is the model's business."""
    sent = json.dumps([{"type": kind, "source": {"x": [1.0]}}] * MAX_BLOCKS).encode()
    assert sent == content(sent)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"[]", "content: 1 to 20 blocks are allowed, not 0"),
        (json.dumps([{"type": "text"}] * 21).encode(), "1 to 20 blocks are allowed, not 21"),
        (b'[{"type":"video"}]', r"content\[0\].type: expected one of text, image, document"),
        (b'[{"text":"x"}]', r"content\[0\].type: this field is required"),
        (b"[7]", r'content\[0\]: expected "object", got "int"'),
        (b"null", 'content: expected "str", got "null"'),
        (b'{"type":"text"}', 'content: expected "str", got "object"'),
        (b'"\xff"', "content: this is not UTF-8"),
        (b'[{"type":"text","text":"\xff"}]', "content: this is not UTF-8"),
    ],
)
def test_other_content_is_refused(sent, words):
    """What no agent could be told is refused before there is a turn."""
    with pytest.raises(BadRequest, match=words):
        content(sent)


@pytest.mark.parametrize("value", [r'"\ud83d"', r'[{"type":"text","text":"\ud83d"}]'])
def test_half_a_character_becomes_a_sign_for_it(value):
    """JavaScript sends halves of characters, which no model reads: U+FFFD stands for each."""
    query = message_query("s", b'{"content":%b}' % value.encode())
    assert value.replace(r"\ud83d", r"\ufffd") == bytes(query.prompt).decode()


@given(st.binary())
def test_files_come_as_base64(data):
    """A file is the bytes that were encoded."""
    file = File(path="x", content=base64.b64encode(data).decode())
    assert data == file.sent(None).content


@pytest.mark.parametrize(
    "encode",
    [
        base64.encodebytes,
        base64.urlsafe_b64encode,
        lambda data: base64.b64encode(data).rstrip(b"="),
        lambda data: b"\r\n".join([base64.b64encode(data), b""]),
    ],
    ids=["with line ends", "url-safe", "without padding", "with a last line end"],
)
@given(data=st.binary(max_size=200))
def test_base64_comes_in_other_forms(encode, data):
    """Line ends, the url-safe alphabet and missing padding are fine."""
    assert data == File(path="x", content=encode(data).decode()).sent(None).content


@pytest.mark.parametrize("text", ["a", "a===", "YQ==YQ==", "é", "%%%%"])
def test_other_encodings_are_refused(text):
    """What is not base64 would be another file; the error names it."""
    with pytest.raises(BadRequest, match='content of "a/b" is not base64'):
        File(path="a/b", content=text).sent(None)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, None),
        ({"executable": False}, 0o644),
        ({"executable": True}, 0o755),
        ({"mode": "755"}, 0o755),
        ({"mode": "0600"}, 0o600),
    ],
)
def test_permissions_of_a_file(fields, mode):
    """A file has a mode in octal digits, or is executable, or leaves it to the server."""
    assert mode == File(path="x", content="", **fields).sent(None).mode


@pytest.mark.parametrize("mode", ["", "7", "0o755", "4755", "888", "055", "rwx"])
def test_mode_that_means_nothing_is_refused(mode):
    """Three octal digits with which the owner can read the file; no setuid."""
    words = refusal(DeployAgent, {"name": "a", "files": [{"path": "x", "mode": mode}]})
    assert words.startswith("files[0].mode: expected")


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("x", {}, 'the content of "x" is missing'),
        ("x", {"content": "", "link": "y"}, "content or link"),
        ("x/", {"content": "YQ=="}, "is a folder"),
        ("x/", {"link": "y"}, "is a folder"),
        ("x", {"content": "", "mode": "644", "executable": True}, "not both"),
    ],
)
def test_file_that_contradicts_itself_is_refused(path, fields, words):
    """A file has content, a link has a target, and a folder has neither."""
    with pytest.raises(BadRequest, match=words):
        File(path=path, **fields).sent(None)
