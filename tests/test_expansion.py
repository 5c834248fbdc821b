import pytest

from ash.expansion import expand, missing

ENV = {"HOST": "example.com", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("https://${HOST}/x", "https://example.com/x"),
        ("https://${NONE:-b.org}/", "https://b.org/"),
        ("https://${HOST:-b.org}/", "https://example.com/"),
        ("${EMPTY:-x}e", "e"),
        ("${NONE:-a:-b}", "a:-b"),
        ("${NONE}", "${NONE}"),
        ("$HOST", "$HOST"),
        ("${NONE-x}", "${NONE-x}"),
    ],
)
def test_variables_are_expanded_as_the_cli_does(text, expanded):
    """A default counts if the variable is not set; what has neither stays as it is."""
    assert expanded == expand(text, ENV)


def test_variables_without_a_value_are_named_once():
    """Those with a default are not missing."""
    assert ["A", "B"] == missing("${A} ${B} ${A} ${C:-} ${HOST}", ENV)
