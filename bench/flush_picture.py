"""Draw what throwing queued speech away costs, by how much of it there is.

Run: python -m bench.flush_picture [--out docs/flush-cost.png]
"""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path
from typing import Final

from bench import test_flush
from bench.load import figures
from bench.quickest import discard_costs_ns

SIZES: Final = test_flush.FRAMES
# Rivals are timed one call at a time, and what timing costs is taken off: this much is uncertain.
NOISE_NS: Final = 12.0
INK: Final = {
    "deque.clear()": "#1f6f8b",
    "bytearray.clear()": "#7f8c8d",
    "SimpleQueue drained": "#b7791f",
    "asyncio.Queue drained": "#5b3c88",
    "numpy_ringbuffer drained": "#2e7d32",
    "queue.Queue drained": "#7a4b2a",
}


def draw(ring_ns: dict[int, float], rivals_ns: dict[str, dict[int, float]], out: Path) -> None:
    """Write the picture: frames against nanoseconds, both logarithmic."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    lines = {"MulawRing.flush()": (ring_ns, "#c0392b")}
    lines |= {name: (rivals_ns[name], ink) for name, ink in INK.items()}
    for name, (found, ink) in lines.items():
        is_ring = name == "MulawRing.flush()"
        width = 3.0 if is_ring else 1.5
        axes.plot(SIZES, [found[size] for size in SIZES], "o-", color=ink, lw=width, ms=4)
        axes.annotate(
            name,
            (SIZES[-1], found[SIZES[-1]]),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            color=ink,
            fontsize=9,
            fontweight="bold" if is_ring else "normal",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.8)
    axes.axhspan(0.8, NOISE_NS, color="#000000", alpha=0.05, lw=0)
    axes.text(1, 1.0, "less than one timing can tell", fontsize=8, alpha=0.6)
    axes.set_xlim(right=SIZES[-1] * 12)
    axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
    axes.set_xlabel("queued frames of 20 ms")
    axes.set_ylabel("ns to throw them away, quickest of many")
    axes.set_title("A barge-in costs the same, however much the AI has said", fontsize=11)
    axes.grid(visible=True, which="major", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(f"{figures.machine()}, {dt.datetime.now(dt.UTC):%Y-%m-%d}", fontsize=7)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": ""})


def main(argv: list[str] | None = None) -> int:
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/flush-cost.png"))
    arguments = parser.parse_args(argv)
    kinds = {name: test_flush.KINDS[name]() for name in INK}
    draw(test_flush.ring_flush_ns(), discard_costs_ns(kinds, SIZES), arguments.out)
    print(f"drawn: {arguments.out}")
    return 0


if __name__ == "__main__":
    main()
