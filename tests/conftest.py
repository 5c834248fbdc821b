"""Fixtures and hooks for all tests."""

pytest_plugins = ["tests.support.runs"]
