"""The mutations a proof of the ring must kill: each one edit of a copy of the real header.

The shipped header has no switch for them. A mutant whose text is no longer found exactly once is an
error, so that a change of the header cannot make it vanish in silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "fastbridge"
HEADER = "_ring_core.h"
HEADERS = (HEADER, "_atomics.h", "_base64.h")


class MutantError(Exception):
    """The header no longer holds what a mutant edits."""


@dataclass(frozen=True)
class Mutant:
    """One wrong edit: its name, what it breaks, and the pieces of text that change."""

    name: str
    breaks: str
    edits: tuple[tuple[str, str], ...]

    @property
    def switch(self) -> str:
        """The name of the same edit in the Promela model."""
        return self.name.upper().replace("-", "_")


_PUBLISH = "!fb_swap(&ring->tail, &word, (word & ~FB_FIELD) | (end & FB_FIELD))"
_FLUSHED = "    } while (!fb_swap(&ring->tail, &word, next));\n    return fb_readable(ring, word);"
_FLUSH = "FB_INLINE uint64_t fb_flush(fb_ring *ring) {"

MUTANTS = (
    Mutant(
        "no-cas-publish",
        "P stores the word instead of swapping it: a flush in between is undone",
        (
            (
                f"    while ({_PUBLISH}) {{",
                (
                    "    fb_store_release(&ring->tail, (word & ~FB_FIELD) | (end & FB_FIELD));\n"
                    "    while (0) {"
                ),
            ),
        ),
    ),
    Mutant(
        "no-floor",
        "a flush raises the epoch and leaves the floor where it was",
        (
            (
                "next << FB_EPOCH_SHIFT | (word & FB_FIELD) << FB_FLOOR_SHIFT | (word & FB_FIELD);",
                "next << FB_EPOCH_SHIFT | fb_floor(word) << FB_FLOOR_SHIFT | (word & FB_FIELD);",
            ),
        ),
    ),
    Mutant(
        "relaxed-head",
        "C releases its position without releasing its copies",
        (
            (
                "fb_store_release(&ring->head, position);",
                "fb_store_relaxed(&ring->head, position);",
            ),
        ),
    ),
    Mutant(
        "relaxed-head-load",
        "P overwrites without having acquired that C is done",
        (
            (
                "used = ring->written - fb_load_acquire(&ring->head);",
                "used = ring->written - fb_load_relaxed(&ring->head);",
            ),
        ),
    ),
    Mutant(
        "relaxed-tail-load",
        "C copies bytes it has not acquired",
        (
            (
                "uint64_t word = fb_load_acquire(&ring->tail);\n    fb_sync(ring, word);",
                "uint64_t word = fb_load_relaxed(&ring->tail);\n    fb_sync(ring, word);",
            ),
        ),
    ),
    Mutant(
        "relaxed-publish",
        "P shows bytes without releasing them",
        (
            (
                _PUBLISH,
                (
                    "!__atomic_compare_exchange_n(&ring->tail, &word, (word & ~FB_FIELD)"
                    " | (end & FB_FIELD), 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)"
                ),
            ),
        ),
    ),
    Mutant(
        "third-thread-index-move",
        "the flushing thread moves C's positions itself",
        (
            (_FLUSH, "FB_INLINE uint64_t fb_look(fb_ring *ring);\n" + _FLUSH),
            (_FLUSHED, _FLUSHED.replace("    return", "    fb_look(ring);\n    return")),
        ),
    ),
    Mutant(
        "rewind-beyond-retained",
        "a rewind goes back to the floor, over what P may have overwritten",
        (
            (
                "return ring->position - fb_load_relaxed(&ring->keep);",
                "return ring->position - ring->floor;",
            ),
        ),
    ),
    # Beyond the list: the same mistakes where pages are given back.
    Mutant(
        "relaxed-keep",
        "C gives pages back without releasing its copies",
        (("fb_store_release(&ring->keep, oldest);", "fb_store_relaxed(&ring->keep, oldest);"),),
    ),
    Mutant(
        "relaxed-keep-load",
        "P returns pages without having acquired that C is done",
        (
            (
                "uint64_t keep = fb_load_acquire(&ring->keep);",
                "uint64_t keep = fb_load_relaxed(&ring->keep);",
            ),
        ),
    ),
)
# How many of them are the acceptance list; the rest are ours.
LISTED = 8

# The explorer runs the real header with small numbers, so that few steps reach every border.
SMALL = (
    ("#define FB_FRAME_BYTES 160\n", "#define FB_FRAME_BYTES 16\n"),
    ("#define FB_PAGE_BITS 13\n", "#define FB_PAGE_BITS 5\n"),
)


def edited(text: str, edits: tuple[tuple[str, str], ...], what: str) -> str:
    """Return `text` after every edit; each must find its place exactly once."""
    for was, becomes in edits:
        if text.count(was) != 1:
            raise MutantError(
                f"{what}: {was!r} is found {text.count(was)} times in {HEADER}, not once; "
                "write the edit anew in tests/prove/mutants.py"
            )
        text = text.replace(was, becomes)
    return text


def write_headers(folder: Path, mutant: Mutant | None, *, small: bool = False) -> None:
    """Copy the ring's headers into `folder`, edited."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in HEADERS:
        text = (SOURCE / name).read_text()
        if name == HEADER and mutant is not None:
            text = edited(text, mutant.edits, mutant.name)
        if name == HEADER and small:
            text = edited(text, SMALL, "small numbers")
        (folder / name).write_text(text)
