"""The corpus bench: the real call core on recorded speech, coughs, noise and echo, mode by mode.

Run: python -m bench.barge_in.interruptions [--quick] [--modes reversible,instant] [--seed N]
     [--rows WORD,WORD] [--set NAME=VALUE ...]    (what a setting does: docs/barge_in.md)

Virtual time, fixed seeds: the same machine or another, the same figures (up to the last digits of
floating point). Needs `fastbridge[echo]` and the recordings `corpus.py` names.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from bench.barge_in.corpus import Corpus
from bench.barge_in.detectors import to_mulaw
from bench.barge_in.figures import Report
from bench.barge_in.virtual_call import VirtualCall, run

from fastbridge.setting_loading import load
from fastbridge.silero import Silero


def main() -> None:
    """Run every mode and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a third of the corpus")
    parser.add_argument("--modes", default="reversible,instant", help="comma-separated")
    parser.add_argument("--seed", type=int, default=0, help="other calls: 0 is what is published")
    parser.add_argument("--rows", default="", help="only rows whose name contains one of these")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", dest="changed")
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds"))
    args = parser.parse_args()
    began = time.monotonic()
    corpus = Corpus(args.sounds, 0.33 if args.quick else 1.0, args.seed)
    voice = to_mulaw(corpus.ai_voice())
    # Numbered before they are chosen from: a row alone holds the calls it holds in the whole.
    wanted = args.rows.split(",")
    scenes = [
        one for one in enumerate(corpus.scenes()) if any(word in one[1].row for word in wanted)
    ]
    changed: dict[str, object] = dict(pair.split("=", 1) for pair in args.changed)
    silero = Silero()
    for mode in args.modes.split(","):
        own = {"greeting": "", "detector": "silero", "barge_in": mode}
        settings = load({}, {**own, **changed})
        # Without its setting a transcript comes after the verdict's time, and says nothing.
        written = replace(settings, transcription_model="gpt-transcribe")
        calls = [
            VirtualCall(
                scene, written if scene.is_transcribed else settings, voice, corpus.number(place)
            )
            for place, scene in scenes
        ]
        run(calls, silero)
        report = Report(mode, calls)
        report.show()
        if mode == "reversible":
            report.show_targets()
    print(f"\n{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
