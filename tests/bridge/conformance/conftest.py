"""Each engine, through the real bridge process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import pytest

from ash.testing import StubModel
from tests.support.bridge import Bridge, start_bridge

ENGINES = [
    "scripted",
    pytest.param("claude-agent", marks=pytest.mark.cli),
    pytest.param("claude-code", marks=pytest.mark.cli),
]

StartBridge = Callable[..., AbstractContextManager[Bridge]]


@pytest.fixture(scope="session")
def model() -> Iterator[StubModel]:
    with StubModel.in_thread() as model:
        yield model


@pytest.fixture(scope="module", params=ENGINES)
def engine(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def bridge(engine, model, tmp_path_factory) -> Iterator[Bridge]:
    """One for all tests of a module: its conversation goes on from test to test."""
    folder = tmp_path_factory.mktemp(engine)
    with start_bridge(engine, folder, model.url) as bridge:
        yield bridge.open()


@pytest.fixture
def start(engine, model, tmp_path) -> StartBridge:
    """`start(**env)`: a context with a bridge of the test's own, nothing opened yet."""
    return partial(start_bridge, engine, tmp_path, model.url)
