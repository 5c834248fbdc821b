"""What becomes of the findings in a folder that is to be deployed."""

import pytest

from ash.deploy_check import judge
from ash.errors import BadRequest
from ash.model import Finding

BAD = Finding(severity="error", path="a.json", line=1, column=2, message="a comma")


def test_refusal_says_how_to_deploy_all_the_same():
    """In a request and on the command line."""
    with pytest.raises(BadRequest) as refused:
        judge([BAD, BAD], [], force=False, strict=False)
    said = refused.value.text
    end = "(and 1 more). Nothing was deployed; `force` (--force) deploys it as it is."
    assert (True, True) == (said.startswith("a.json:1:2: a comma"), said.endswith(end))
