"""What the daemon itself reads of an agent's config."""

import pytest

from ash.errors import BadRequest
from ash.requests.agents import check_config


@pytest.mark.parametrize("config", [None, {}, {"network": "none"}, {"network": ["*.pypi.org"]}])
def test_config_that_fits_is_taken(config):
    """Nothing, or a network that can be understood."""
    check_config(config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"network": ["none", "x"]}, 'config.network: "none" in network stands alone'),
        ({"network": "pubic"}, "config.network: network must be"),
    ],
)
def test_network_that_means_nothing_is_refused(config, words):
    """At the deploy, and not when the first session starts."""
    with pytest.raises(BadRequest) as refused:
        check_config(config)
    assert refused.value.text.startswith(words)
