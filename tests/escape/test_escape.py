"""An agent's code tries to get out of its sandbox. Each attempt is told in one sentence."""

import pytest

from tests.escape.attempts import bombs, files, kernel, network, others

TABLES = (files, kernel, others, network, bombs)
ATTEMPTS = [attempt for table in TABLES for attempt in table.ATTEMPTS]


@pytest.fixture(scope="module")
def outcomes(attacker, facts):
    return attacker.make(ATTEMPTS, facts)


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=str)
def test_attempt_is_held(attempt, outcomes):
    """What an agent tries in order to get out is refused, in the way that was foreseen."""
    assert outcomes[attempt.name] in attempt.held, attempt.sentence


def test_nothing_secret_is_seen(outcomes, host):
    """No attempt, whatever came of it, has brought a secret to light."""
    assert [] == [s for s in host.secrets for seen in outcomes.values() if s in seen]


def test_victim_is_unharmed(outcomes, victim):
    """After all attempts the other session has its files and works."""
    assert victim.execute("cat secret.txt")["stdout"].strip() == victim.host.secrets[-1]
