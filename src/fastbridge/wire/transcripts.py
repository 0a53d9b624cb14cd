"""What the caller's words mean for a barge-in, and nothing else of them: the words end here.

Transcripts come in pieces (`...transcription.delta`), then whole (`completed`) or not at all
(`failed`). The first piece that cannot be listening ("mhm") is the fastest verdict there is.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import lru_cache
from typing import Final

from fastbridge.events import TranscriptHeard

ITEMS_MAX: Final = 16
"""Items whose pieces are kept until they are whole; the oldest is forgotten (its whole comes)."""
PIECES_CHARS_MAX: Final = 200
"""Characters kept of one item: more than any list of backchannels needs to be ruled out."""
_SPLIT: Final = re.compile(r"[\s.,;:!?\u2026\u3002\u3001\u2014\u2013\u2012\"]+")
_MARKS: Final = re.compile(r"[\W_]+")
_REPEATED: Final = re.compile(r"(.)\1+")


def squeezed(word: str) -> str:
    """Return a word without case, marks and repeated letters: Mm-hmm and mhm-m both are mhm."""
    return _REPEATED.sub(r"\1", _MARKS.sub("", word.casefold()))


@lru_cache(maxsize=16)
def _listening_words(backchannels: str) -> frozenset[str]:
    """Return the words of a setting as they are compared: one set for all calls that share it."""
    return frozenset(filter(None, map(squeezed, backchannels.split(","))))


class Transcripts:
    """The pieces of one session's transcripts, until each is a verdict.

    Args:
        backchannels: words of listening, separated by commas (`Settings.backchannels`).

    """

    def __init__(self, backchannels: str = "") -> None:
        self._backchannels = _listening_words(backchannels)
        # Pieces so far by item; None: its verdict was "words" already.
        self._pieces: OrderedDict[str, str | None] = OrderedDict()

    def piece(self, item_id: str, text: str) -> TranscriptHeard | None:
        """Take a delta; return the verdict as soon as more words cannot change it."""
        known = self._pieces.get(item_id, "")
        if known is None:
            return None
        said = (known + text)[:PIECES_CHARS_MAX]
        is_words = self._is_more_than_listening(said)
        self._pieces[item_id] = None if is_words else said
        while len(self._pieces) > ITEMS_MAX:
            self._pieces.popitem(last=False)
        return TranscriptHeard(item_id) if is_words else None

    def whole(self, item_id: str, text: str) -> TranscriptHeard | None:
        """Take a whole transcript; None when its pieces were words already."""
        if self._pieces.pop(item_id, "") is None:
            return None
        words = _words(text)
        if not words:
            return TranscriptHeard(item_id, "nothing")
        if self._are_listening(words):
            return TranscriptHeard(item_id, "backchannel")
        return TranscriptHeard(item_id)

    def failed(self, item_id: str) -> TranscriptHeard:
        """Take that nothing could be written down."""
        self._pieces.pop(item_id, None)
        return TranscriptHeard(item_id, "failed")

    def _are_listening(self, words: list[str]) -> bool:
        return squeezed("".join(words)) in self._backchannels or all(
            word in self._backchannels for word in words
        )

    def _is_more_than_listening(self, said: str) -> bool:
        """Say whether it is words whatever follows; the last word may still be growing."""
        words = _words(said)
        if not words:
            return False
        if self._are_listening(words):
            return False
        joined = squeezed("".join(words))
        if any(one.startswith(joined) for one in self._backchannels):
            return False
        *before, last = words
        is_growing = any(one.startswith(last) for one in self._backchannels)
        return not (is_growing and (not before or self._are_listening(before)))


def _words(text: str) -> list[str]:
    """Return the words of a text, squeezed; marks alone are none."""
    return [word for word in map(squeezed, _SPLIT.split(text)) if word]
