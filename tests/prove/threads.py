"""Three Python threads on one ring: writer, flusher, reader; for tests/test_ring_threads.py.

It runs on any interpreter the module was built for, with a GIL or without; it prints which.
usage: threads.py FOLDER_OF_THE_MODULE READS
"""

from __future__ import annotations

import struct
import sys
import threading

sys.path.insert(0, sys.argv[1])

from fastbridge._ring import FULL, STALE, MulawRing

FRAME_WORDS = 20


class Trial:
    """The ring, the writer's books, and what the flusher has finished."""

    def __init__(self, reads: int) -> None:
        self.ring = MulawRing(window_frames=6, rewind_frames=3)
        self.reads = reads
        self.first_of = {0: 0}
        self.flushed_epoch = 0
        self.over = False
        self.wrong: list[str] = []

    def write(self) -> None:
        """Write frames that say their epoch and number."""
        epoch, number = self.ring.begin(), 0
        self.first_of[epoch] = 0
        while not self.over:
            done = self.ring.write(struct.pack("<II", epoch, number) * FRAME_WORDS, epoch)
            if done == STALE:
                epoch = self.ring.begin()
                self.first_of[epoch] = number
            elif done != FULL:
                number += 1

    def flush(self) -> None:
        """Flush as another thread than the reader's: without its half of the work."""
        turn = 0
        while not self.over:
            turn += 1
            if turn % 50 == 0 and self.flushed_epoch < 30_000:
                self.ring.flush(sync=False)
                self.flushed_epoch = self.ring.epoch

    def read(self) -> None:
        """Judge every frame by what it says of itself."""
        last, expected, done = -1, 0, 0
        while done < self.reads and not self.wrong:
            least = self.flushed_epoch
            frame = self.ring.read_frame()
            if frame is None:
                continue
            done += 1
            epoch, number = struct.unpack_from("<II", frame)
            if frame != frame[:8] * FRAME_WORDS:
                self.wrong.append("torn")
            if epoch < max(least, last):
                self.wrong.append(f"stale: epoch {epoch} after {max(least, last)}")
            if epoch != last:
                last, expected = epoch, self.first_of[epoch]
            if number != expected:
                self.wrong.append(f"order: {number} for {expected}")
            expected += 1
            if done % 7 == 0:
                expected -= self.ring.rewind(320) // 160
        self.over = True


def main() -> int:
    """Return 0 when nothing was torn, stale or out of order."""
    sys.setswitchinterval(1e-5)
    trial = Trial(int(sys.argv[2]))
    threads = [threading.Thread(target=each) for each in (trial.write, trial.flush, trial.read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(
        "GIL" if gil else "no GIL", trial.reads, "reads", trial.ring.epoch, "flushes", trial.wrong
    )
    return 1 if trial.wrong or trial.ring.epoch == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
