"""The variables of a `.env`."""

import pytest

from ash.agent_files.env_file import read_env
from ash.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("A=1\nB = 2 # two\n# C=3\n\nexport D=4", {"A": "1", "B": "2", "D": "4"}),
        ("A='x # y $Z'\nB=\"l1\\nl2\"", {"A": "x # y $Z", "B": "l1\nl2"}),
        ('KEY="-----BEGIN\nabc\n-----END"\nB=', {"KEY": "-----BEGIN\nabc\n-----END", "B": ""}),
        ("A=$HOME/${B}", {"A": "$HOME/${B}"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("\ufeffA=é", {"A": "é"}),
        ("A=1\nA=2", {"A": "2"}),
    ],
)
def test_variables_are_read(text, variables):
    """Quotes, comments, `export`, several lines; a `$` is only a sign."""
    assert variables == read_env(text.encode())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"A=1\n\n\ns3cret\n", "line 4 is not NAME=value"),
        (b"A=1\ns3cret: x", "line 2 is not NAME=value"),
        (b"MY-VAR=s3cret", "line 1 is not NAME=value"),
        (b"1A=s3cret", "line 1 is not NAME=value"),
        (b'A=1\nB="s3cret', "line 2 is not NAME=value"),
        (b"A=s3cret\0", "line 1 is not NAME=value"),
        (b"\nB=s3cret\xff", "line 2 is not UTF-8"),
    ],
)
def test_line_that_is_no_variable_is_refused(text, words):
    """The error has the number of the line, and nothing of what is in it."""
    with pytest.raises(BadRequest) as refused:
        read_env(text)
    assert f".env: {words}" == refused.value.text
