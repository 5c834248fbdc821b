"""Helpers for testing agents without a model; see docs/testing.md."""

from ash.script import Crash, Fail, Say, Use
from ash.testing.faults import Cut, Hang
from ash.testing.messages import Request
from ash.testing.stub_model import Rule, StubModel

__all__ = ["Crash", "Cut", "Fail", "Hang", "Request", "Rule", "Say", "StubModel", "Use"]
