import pytest

from tests.support.daemon import running, settings


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
async def daemon(data_dir):
    """A daemon with the scripted engine and the best isolation there is."""
    async with running(settings(data_dir)) as daemon:
        yield daemon


@pytest.fixture
async def us(daemon):
    return daemon.us


@pytest.fixture
async def agent(us):
    """An agent that is deployed."""
    return await us.deploy()


@pytest.fixture
async def session(us, agent):
    """A session that is active."""
    return await us.create()
