import pytest

from tests.support.embedded import embedded


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
async def ash(data_dir):
    """Open, with the scripted engine and the best isolation there is."""
    async with embedded(data_dir) as ash:
        yield ash


@pytest.fixture
async def session(ash):
    """The id of a session that is active."""
    await ash.deploy_agent("helper", system_prompt="be kind")
    return (await ash.create_session("helper")).id
