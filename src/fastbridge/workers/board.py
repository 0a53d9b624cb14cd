"""The board: how many calls each worker carries, in memory that all of them share.

A worker must know at once whether the group is full, so it may not ask anybody. Each worker writes
its own slot only; everybody reads all of them. Two workers that take the last place at the same
moment both get it: the limit can be passed by one call for each further worker, never more.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Final

SLOT_BYTES: Final = 8


class Board:
    """One 8-byte slot for each worker; a slot is written by its owner only."""

    def __init__(self, fd: int, slots: int) -> None:
        self.fd = fd
        self._memory = mmap.mmap(fd, slots * SLOT_BYTES)
        # Item assignment through a cast view stores one aligned machine word.
        self._slots = memoryview(self._memory).cast("Q")

    @classmethod
    def create(cls, slots: int) -> Board:
        """Return a new board, all slots 0; its file has no name and ends with the last process."""
        with tempfile.TemporaryFile(prefix="fastbridge-board-") as file:
            file.truncate(slots * SLOT_BYTES)
            return cls(os.dup(file.fileno()), slots)

    def write(self, slot: int, calls: int) -> None:
        """Put down how many calls a worker carries."""
        self._slots[slot] = calls

    def read(self, slot: int) -> int:
        """Return how many calls a worker carries."""
        return self._slots[slot]

    def total(self) -> int:
        """Return how many calls all workers carry."""
        return sum(self._slots)

    def close(self) -> None:
        """Let go of the memory and the file."""
        self._slots.release()
        self._memory.close()
        os.close(self.fd)
