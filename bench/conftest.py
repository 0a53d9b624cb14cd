"""Targets: a measured figure against its bound, asserted in the test and listed at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Target:
    """One figure and the bound it must keep."""

    name: str
    found: float
    bound: float
    is_ceiling: bool

    @property
    def is_met(self) -> bool:
        """Say whether the figure keeps its bound."""
        return self.found <= self.bound if self.is_ceiling else self.found >= self.bound

    def __str__(self) -> str:
        """Return a row of the table."""
        how = "at most" if self.is_ceiling else "at least"
        verdict = "met" if self.is_met else "MISSED"
        return f"{self.name:66}{self.found:9.2f}   {how:8} {self.bound:8g}   {verdict}"


TARGETS: list[Target] = []
TABLES: list[str] = []

Judge = Callable[..., None]


@pytest.fixture
def target() -> Judge:
    """Return what judges a figure: `target(name, found, at_most=2.0)` or `at_least=`."""

    def judge(
        name: str, found: float, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        bound = at_most if at_most is not None else at_least
        assert bound is not None
        one = Target(name, found, bound, is_ceiling=at_most is not None)
        TARGETS.append(one)
        if not one.is_met:
            pytest.fail(str(one), pytrace=False)

    return judge


@pytest.fixture
def table() -> Callable[[str], None]:
    """Return what keeps a table for the end of the run."""
    return TABLES.append


@pytest.hookimpl(trylast=True)  # behind pytest-benchmark's tables: the end is what is read
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables and every target with its figure."""
    for text in TABLES:
        terminalreporter.write_sep("-", "measured")
        terminalreporter.write_line(text)
    if TARGETS:
        terminalreporter.write_sep("=", "targets")
        for one in TARGETS:
            terminalreporter.write_line(str(one), red=not one.is_met)
