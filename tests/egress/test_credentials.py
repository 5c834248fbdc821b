"""The credentials for model calls, and which of them are secret."""

import pytest

from ash.egress.credentials import credential_headers, secrets, with_own
from ash.errors import BadRequest, ConfigError

A_KEY = {"ANTHROPIC_API_KEY": "sk-1"}


def test_credentials_of_a_key_are_one_header():
    """An API key becomes the header that the Messages API expects."""
    assert [(b"x-api-key", b"sk-1")] == credential_headers(A_KEY)


def test_credentials_of_a_token_are_a_bearer():
    """A token for the endpoint or a gateway goes into the header Authorization."""
    given = {"ANTHROPIC_AUTH_TOKEN": "token"}
    assert [(b"authorization", b"Bearer token")] == credential_headers(given)


def test_credentials_of_a_subscription_name_its_beta():
    """The endpoint takes such a token only together with its beta."""
    expected = [(b"authorization", b"Bearer token"), (b"anthropic-beta", b"oauth-2025-04-20")]
    assert expected == credential_headers({"CLAUDE_CODE_OAUTH_TOKEN": "token"})


def test_credentials_of_several_kinds_are_those_that_the_cli_would_use():
    """One is used: the token first, then the key, then the subscription's."""
    given = {"CLAUDE_CODE_OAUTH_TOKEN": "c", **A_KEY, "ANTHROPIC_AUTH_TOKEN": "a"}
    assert [(b"authorization", b"Bearer a")] == credential_headers(given)
    del given["ANTHROPIC_AUTH_TOKEN"]
    assert [(b"x-api-key", b"sk-1")] == credential_headers(given)


def test_credentials_without_a_key_are_empty():
    """Without a key there is no header."""
    assert [] == credential_headers({})


def test_credentials_of_custom_headers_win_over_the_key():
    """Each line is a header; one for the key replaces the key's own."""
    custom = "Authorization: Bearer gateway:1\n\nX-Team:  a b \r\nx-api-key: other\n"
    expected = [
        (b"x-api-key", b"other"),
        (b"authorization", b"Bearer gateway:1"),
        (b"x-team", b"a b"),
    ]
    assert expected == credential_headers(A_KEY, custom)


@pytest.mark.parametrize(
    ("key", "custom"),
    [
        ("hidden\nvalue", None),
        ("hidden\x00", None),
        ("hidden ", None),
        (None, "hidden"),
        (None, "Bad Name: hidden"),
        (None, "X-Key: hid\x7fden"),
        (None, "X-Key: hidden-ü"),
        (None, "Host: hidden"),
        (None, "Content-Length: hidden"),
        (None, "X-Empty:"),
    ],
)
def test_credentials_that_make_no_header_are_an_error_without_the_value(key, custom):
    """An invalid header is an error at the start, and its text does not show the value."""
    with pytest.raises(ConfigError) as error:
        credential_headers({"ANTHROPIC_API_KEY": key} if key else {}, custom)
    assert "hidden" not in str(error.value)


def test_secrets_are_the_values_that_prove_something():
    """A token is secret with and without the word before it; a team's name is not."""
    custom = "Authorization: Bearer abc\nX-Team: blue\nX-Gateway-Token: def\nAnthropic-Beta: new"
    found = secrets(credential_headers(A_KEY, custom))
    assert {b"sk-1", b"Bearer abc", b"abc", b"def"} == set(found)


def test_credentials_with_a_session_s_key_keep_other_headers():
    """A session's key replaces the daemon's; the other headers stay."""
    expected = [(b"x-team", b"blue"), (b"x-api-key", b"sk-2")]
    assert expected == with_own(
        [(b"x-team", b"blue"), (b"x-api-key", b"sk-1")], {"ANTHROPIC_API_KEY": "sk-2"}
    )
    assert expected[1:] == with_own([], {"ANTHROPIC_API_KEY": "sk-2"})


def test_session_s_key_that_makes_no_header_is_a_bad_request_without_the_key():
    """An invalid key of a session is refused, and the text does not show it."""
    with pytest.raises(BadRequest) as error:
        with_own([], {"ANTHROPIC_AUTH_TOKEN": "hidden\r\nx: y"})
    assert "hidden" not in str(error.value)
