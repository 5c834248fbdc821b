"""Fixtures: bridges with the two engines that drive the real CLI."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from ash.testing import StubModel
from tests.support.bridge import Bridge, start_bridge

StartBridge = Callable[..., AbstractContextManager[Bridge]]


@pytest.fixture(scope="session")
def model() -> Iterator[StubModel]:
    with StubModel.in_thread() as model:
        yield model


@pytest.fixture(scope="module", params=["claude-agent", "claude-code"])
def engine(request) -> str:
    return request.param


@pytest.fixture
def start(engine, model, tmp_path: Path) -> StartBridge:
    """`start(**env)`: a context with a bridge for this test alone, without a conversation."""
    return partial(start_bridge, engine, tmp_path, model.url)
