"""A whole call in virtual time from one seed: everybody stumbles and is late, the core may not.

    caller -> carrier -> network -> [wire -> Call -> wire] -> network -> AI

One integer clock, one seed; after every step that touches the call or the ear the invariants of
`invariants` are checked. The same seed gives the same bytes.
"""

from __future__ import annotations

from fastbridge.simulator.invariants import InvariantBroken
from fastbridge.simulator.simulation import Outcome, simulate
from fastbridge.simulator.worlds import Worlds

__all__ = ["InvariantBroken", "Outcome", "Worlds", "simulate"]
