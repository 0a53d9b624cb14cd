#!/bin/sh
# Report line coverage of the compiled ring (_ring.pyx and its C headers), measured by gcov.
# gcov, because it counts the C core as well as the Cython lines and needs no Python version.
# What Cython generates for wrong arguments is booked on docstring lines, so the share of
# _ring.pyx is a lower bound. Branches that only racing threads or a failing malloc reach count too.
# usage: tests/ring_coverage.sh [PYTHON] [DIRECTORY]; a number that is too low fails (LEAST, percent)
set -eu

cd "$(dirname "$0")/.."
python=${1:-python3}
traced=${2:-build/traced}
least=${LEAST:-95}

rm -rf "$traced"
mkdir -p "$traced/lib"
cp -r src/fastbridge "$traced/lib/"
rm -f "$traced"/lib/fastbridge/_ring*.so "$traced"/lib/fastbridge/_ring.c

FASTBRIDGE_TRACE_RING=1 "$python" setup.py -q build_ext \
    --build-lib "$traced/lib" --build-temp "$traced/objects" >"$traced/build.log" 2>&1 ||
    { cat "$traced/build.log"; exit 1; }

PYTHONPATH="$traced/lib" "$python" -m pytest -q -p no:cacheprovider tests/test_ring.py \
    tests/test_ring_machine.py tests/test_ring_contract.py tests/test_ring_level.py

notes=$(find "$traced/objects" -name '_ring.gcno')
gcov --no-output --object-directory "$(dirname "$notes")" "$notes" 2>/dev/null |
    awk -v least="$least" '
        /^File .*fastbridge\/_(ring\.pyx|ring_core\.h|base64\.h|atomics\.h)/ { split($2, part, "/"); name = $2; next }
        /^File/ { name = "" }
        /^Lines executed/ && name != "" {
            split($2, share, /[:%]/); hit = share[2] * $4 / 100; all += $4; hits += hit
            gsub("\047|.*/", "", name); printf "%-14s %5d lines %6.2f %%\n", name, $4, share[2]; name = ""
        }
        END {
            if (all == 0) { print "gcov named none of the ring files"; exit 1 }
            printf "compiled ring: line coverage %.1f %% of %d lines\n", 100 * hits / all, all
            if (100 * hits / all < least) { print "below " least " %"; exit 1 }
        }'
