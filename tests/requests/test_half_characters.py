"""Half of a surrogate pair can't be written as UTF-8: no file, variable or prompt has it."""

import msgspec
import pytest

from ash.errors import BadRequest
from ash.requests.agents import DeployAgent
from ash.requests.parsing import decode, encode
from ash.requests.sessions import ConfigureSession, CreateSession, RunCommand, UploadFiles

WHY = "holds half of a surrogate pair, which is no text"


@pytest.mark.parametrize("half", [r"\ud800", r"\uDFFF", r"\udc00\ud800", r"\ud83d\ud83d\ude00"])
@pytest.mark.parametrize(
    ("shape", "body", "field"),
    [
        (DeployAgent, '{"name":"a","files":[{"path":"x"},{"path":"%s"}]}', "files[1].path"),
        (DeployAgent, '{"name":"a","systemPrompt":"%s"}', "systemPrompt"),
        (DeployAgent, '{"name":"a","env":{"A":"%s"}}', "env.A"),
        (DeployAgent, '{"name":"a","env":{"%s":"x"}}', "env"),
        (DeployAgent, '{"name":"a","config":{"%s":1}}', "config"),
        (CreateSession, '{"agent":"a","systemPrompt":"you %s"}', "systemPrompt"),
        (CreateSession, '{"agent":"a","extraEnv":{"A":"%s","B":1}}', "extraEnv.A"),
        (ConfigureSession, '{"model":"%s"}', "model"),
        (RunCommand, '{"command":"%s"}', "command"),
        (UploadFiles, '{"files":[{"path":"%s","content":""}]}', "files[0].path"),
        (ConfigureSession, '{"model":"m","%s":1}', "body"),
    ],
)
def test_half_a_character_is_refused_by_the_name_of_its_field(shape, body, field, half):
    """It is not replaced in silence: the caller would look for a file of another name."""
    text = body.replace("%s", half)
    with pytest.raises(BadRequest) as refused:
        decode(text.encode(), msgspec.json.Decoder(shape))
    assert f"{field}: {WHY}" == refused.value.text


@pytest.mark.parametrize("text", [r"\ud83d\ude00", r"\\ud800", "😀"])
def test_whole_characters_are_taken(text):
    """A pair is one character, and an escaped backslash begins no escape."""
    body = f'{{"agent":"a","systemPrompt":"{text}"}}'.encode()
    wanted = decode(body, msgspec.json.Decoder(CreateSession))
    assert msgspec.json.decode(body)["systemPrompt"] == wanted.system_prompt


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"\\ud800","x":"' + b"x" * 1024 * 1024 + b'"}',
        b'{"model":"\\ud800","model":"m"}',
        b'{"model":"\\ud800","x":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
)
def test_half_a_character_that_is_not_found_again_is_refused(body):
    """In a body that is too long to be read twice, and where another field of that name stands."""
    with pytest.raises(BadRequest, match=WHY):
        decode(body, msgspec.json.Decoder(ConfigureSession))


def test_half_a_character_in_a_call_of_this_process_is_refused_in_the_same_words():
    """An embedded caller gives text, and no JSON."""
    with pytest.raises(BadRequest) as refused:
        encode({"files": [{"path": "\udce9"}]})
    assert f"files[0].path: {WHY}" == refused.value.text
