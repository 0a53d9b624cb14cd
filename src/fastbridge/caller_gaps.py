"""How much of the caller's audio never came, by the carrier's own clock.

Each media message says where on the stream's clock it begins (Twilio: `media.timestamp`,
milliseconds since the start of the stream). A message that begins later than the one before it
ended leaves a gap; silence has to stand there, or every later time of the AI is early by it.
"""

from __future__ import annotations

from fastbridge._clocks import GAP_MS_MAX, CallerGaps

__all__ = ["GAP_MS_MAX", "CallerGaps"]
