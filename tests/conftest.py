"""What more than one file of tests uses, and in which of its two forms the package is tested."""

from __future__ import annotations

import pytest

import fastbridge.call
from plain import stale_rooms

pytest_plugins = ["prometheus_rig"]

IS_PLAIN = fastbridge.call.__file__.endswith(".py")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test a compiled form that is older than its source."""
    config.addinivalue_line(
        "markers", "plain: breaks code on purpose, which only plain Python allows"
    )
    stale = [] if IS_PLAIN else stale_rooms()
    if stale:
        raise pytest.UsageError(
            f"compiled before its last change: {', '.join(stale)}. Run: make lint"
        )


def pytest_report_header() -> str:
    """Say which form is tested."""
    return f"fastbridge: the call's rooms run {'as plain Python' if IS_PLAIN else 'compiled'}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let no test pass for want of the form it needs."""
    if item.get_closest_marker("plain") and not IS_PLAIN:
        pytest.fail("this test needs plain Python: PYTHONPATH=$(python tests/plain.py) pytest ...")
