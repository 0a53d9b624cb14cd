"""No hot step costs more machine instructions than recorded: counted by callgrind, not timed."""

from __future__ import annotations

from bench import instructions
from bench.instructions import Counted

BASELINE = {"C": {"gcc-12": {"flush": 100.0}}, "Python": {"3.11": {"flush": 1000.0}}}


def test_no_hot_step_has_grown() -> None:
    """Ring, base64, scan, socket and playout: at most 2 % (C) and 5 % (Python) over the record."""
    everything = instructions.count_all()
    baseline = instructions.load()
    print("\n" + instructions.table(everything, baseline))
    assert [line for one in everything for line in instructions.complaints(one, baseline)] == []


def test_a_slower_step_is_refused_by_its_name() -> None:
    """The gate closes right above its line on either side, and not below it."""
    at_most = [
        Counted("C", "gcc-12", {"flush": 102.0}),
        Counted("Python", "3.11", {"flush": 1050.0}),
    ]
    assert [instructions.complaints(one, BASELINE) for one in at_most] == [[], []]
    (line,) = instructions.complaints(Counted("C", "gcc-12", {"flush": 102.1}), BASELINE)
    assert "'flush' costs 102.1 instructions, recorded are 100: +2.1%" in line
    (line,) = instructions.complaints(Counted("Python", "3.11", {"flush": 1051.0}), BASELINE)
    assert "allowed is +5%" in line


def test_an_unknown_compiler_or_step_names_the_command_that_records_it() -> None:
    """What was never recorded cannot be judged: it fails, and says what to type."""
    (line,) = instructions.complaints(Counted("C", "gcc-99", {"flush": 1.0}), BASELINE)
    assert "gcc-99" in line
    assert "make bench-baseline" in line
    renamed = Counted("C", "gcc-12", {"flush!": 100.0})
    assert ["make bench-baseline" in one for one in instructions.complaints(renamed, BASELINE)] == [
        True,
        True,
    ]
