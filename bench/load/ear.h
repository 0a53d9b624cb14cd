/* The carrier's ear of one call: what was played when, which marks are due, what a clear threw away.
 *
 * Playback is a virtual clock: audio that arrives starts when what is before it has ended, so that
 * begin and end of every piece are known on arrival and nothing has to be stepped.
 */
#ifndef BENCH_LOAD_EAR_H
#define BENCH_LOAD_EAR_H
#include "wire.h"

enum { PIECES = 1024, MARK_CHARS = 72, CLASSES = 3, SILENCE = 3 };

typedef struct {
    int64_t begin_ns, end_ns; /* a mark's are both the end of the audio before it */
    uint8_t kind;             /* the answer's class, SILENCE, or MARK */
    char name[MARK_CHARS];
} Piece;

enum { MARK = 4 };

typedef struct {
    Piece pieces[PIECES];
    uint32_t from, to;
    int64_t end_ns; /* when everything queued will have been played */
} Ear;

static Piece *ear_head(Ear *ear) {
    return ear->from == ear->to ? NULL : &ear->pieces[ear->from % PIECES];
}

static Piece *ear_push(Ear *ear, uint8_t kind, int64_t begin_ns, int64_t end_ns) {
    if (ear->to - ear->from >= PIECES) die("over %d pieces queued at one ear", PIECES);
    Piece *piece = &ear->pieces[ear->to++ % PIECES];
    piece->kind = kind;
    piece->begin_ns = begin_ns;
    piece->end_ns = end_ns;
    return piece;
}

/* Queue audio of one class; the answer is how long the ear had nothing to play before it. */
static int64_t ear_play(Ear *ear, uint8_t kind, size_t bytes, int64_t at_ns) {
    int64_t idle_ns = at_ns - ear->end_ns, begin_ns = idle_ns > 0 ? at_ns : ear->end_ns;
    ear->end_ns = begin_ns + (int64_t)bytes * NS_PER_BYTE;
    ear_push(ear, kind, begin_ns, ear->end_ns);
    return idle_ns > 0 ? idle_ns : 0;
}

static void ear_mark(Ear *ear, Slice name, int64_t at_ns) {
    int64_t due_ns = ear->end_ns > at_ns ? ear->end_ns : at_ns;
    Piece *piece = ear_push(ear, MARK, due_ns, due_ns);
    size_t n = name.size < MARK_CHARS - 1 ? name.size : MARK_CHARS - 1;
    memcpy(piece->name, name.at, n);
    piece->name[n] = 0;
}

/* How much of a piece was played in a span of time. */
static int64_t ear_overlap(const Piece *piece, int64_t from_ns, int64_t to_ns) {
    int64_t begin = piece->begin_ns > from_ns ? piece->begin_ns : from_ns;
    int64_t end = piece->end_ns < to_ns ? piece->end_ns : to_ns;
    return end > begin ? end - begin : 0;
}

/* ------------------------------------------------------------------ distributions */

enum { BINS = 40000, BIN_NS = 50000 }; /* 50 us up to 2 s; what is beyond counts as 2 s */

typedef struct {
    uint64_t count;
    int64_t max_ns;
    uint32_t bins[BINS];
} Spread;

static void spread_add(Spread *spread, int64_t value_ns) {
    int64_t bin = value_ns / BIN_NS;
    if (bin < 0) bin = 0;
    if (bin >= BINS) bin = BINS - 1;
    spread->bins[bin]++;
    spread->count++;
    if (value_ns > spread->max_ns) spread->max_ns = value_ns;
}

/* The upper bound of the bin the quantile lies in, in ms; -1 when nothing was measured. */
static double spread_ms(const Spread *spread, double quantile) {
    if (!spread->count) return -1;
    uint64_t rank = (uint64_t)(quantile * (double)(spread->count - 1)), seen = 0;
    for (int i = 0; i < BINS; i++) {
        seen += spread->bins[i];
        if (seen > rank) return (i + 1) * (BIN_NS / 1e6);
    }
    return BINS * (BIN_NS / 1e6);
}

static void spread_print(FILE *out, const char *name, const Spread *spread) {
    fprintf(out,
            "\"%s\":{\"count\":%llu,\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"p999_ms\":%.2f,"
            "\"max_ms\":%.2f},",
            name, (unsigned long long)spread->count, spread_ms(spread, .5), spread_ms(spread, .99),
            spread_ms(spread, .999), (double)spread->max_ns / 1e6);
}
#endif
