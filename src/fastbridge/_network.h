/* The Silero network at 8 kHz, forward only, many calls at once: what `_network.pyx` runs.

   Plain C on purpose: a run of the general engine it replaces cost 80 us for one window and 31 for
   each of many, with cold caches 220 for one; this costs 19 and 10, and 49. Each layer is a product
   of rows with a matrix that lies in panels of 16 columns: a panel stays in the first cache while
   all rows of a batch pass it. */

#ifndef FB_NETWORK_H
#define FB_NETWORK_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    FB_WINDOW = 256,              /* samples of a window */
    FB_CONTEXT = 32,              /* and those of the one before that are heard with it */
    FB_STATE = 128,
    FB_BATCH = 8,                 /* calls in one pass; more go in several */
    FB_FRAMES = 4,                /* spectra of a window */
    FB_HOP = 64,
    FB_FFT = 128,
    FB_BINS = 65,
    FB_HEARD = FB_CONTEXT + FB_WINDOW,
    FB_PADDED = FB_HEARD + 32,    /* its end mirrored */
    FB_PANEL = 16,
    FB_SPECTRUM = 144,            /* 65 real, 65 imaginary parts, nothing: whole panels */
    FB_ROWS = FB_BATCH * FB_FRAMES
};

/* The layers as they lie in the file of weights, in floats: matrix in panels, then bias. */
enum {
    FB_AT_SPECTRUM = 0,
    FB_AT_FIRST = FB_AT_SPECTRUM + FB_FFT * FB_SPECTRUM,
    FB_AT_SECOND = FB_AT_FIRST + 3 * FB_BINS * 128 + 128,
    FB_AT_THIRD = FB_AT_SECOND + 3 * 128 * 64 + 64,
    FB_AT_FOURTH = FB_AT_THIRD + 2 * 64 * 64 + 64,
    FB_AT_MEMORY = FB_AT_FOURTH + 64 * 128 + 128,
    FB_AT_LAST = FB_AT_MEMORY + 2 * FB_STATE * 4 * FB_STATE + 4 * FB_STATE,
    FB_WEIGHTS = FB_AT_LAST + FB_STATE + 1
};

/* What a pass needs besides; one for each network, since one thread at a time runs it. */
typedef struct {
    float heard[FB_BATCH][FB_PADDED];
    float spectra[FB_BATCH][FB_FRAMES][FB_SPECTRUM];
    float sizes[FB_BATCH][FB_FRAMES + 2][FB_BINS];   /* the first and the last stay 0 */
    float first[FB_BATCH][FB_FRAMES + 1][128];       /* the first stays 0 */
    float second[FB_BATCH][2][64];
    float third[FB_BATCH][64];
    float joined[FB_BATCH][2 * FB_STATE];            /* what was found, what was remembered */
    float gates[FB_BATCH][4 * FB_STATE];
} fb_pass;

/* One build for each generation of processor, chosen when the module is loaded. */
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && __GNUC__ >= 12
#define FB_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FB_CLONES
#endif
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wpsabi" /* they are always built in, so nothing is passed wide */
#define FB_INLINE static inline __attribute__((always_inline))
typedef float fb_wide __attribute__((vector_size(64), aligned(4), may_alias));
FB_INLINE fb_wide fb_load(const float *from) { return *(const fb_wide *)from; }
FB_INLINE void fb_keep(float *to, fb_wide sum) { *(fb_wide *)to = sum; }
FB_INLINE fb_wide fb_plus(fb_wide sum, float times, const float *row) {
    return sum + times * *(const fb_wide *)row;
}
#else
#define FB_INLINE static __inline
typedef struct { float of[FB_PANEL]; } fb_wide;
FB_INLINE fb_wide fb_load(const float *from) {
    fb_wide sum;
    memcpy(sum.of, from, sizeof sum.of);
    return sum;
}
FB_INLINE void fb_keep(float *to, fb_wide sum) { memcpy(to, sum.of, sizeof sum.of); }
FB_INLINE fb_wide fb_plus(fb_wide sum, float times, const float *row) {
    for (int n = 0; n < FB_PANEL; n++) sum.of[n] += times * row[n];
    return sum;
}
#endif

/* One panel for `count` rows (a constant where this is built in: 4 sums live in registers). */
FB_INLINE void fb_panel(const int count, size_t inner, const float *panel, const float *bias,
                        const float *const *in, float *const *out, size_t column) {
    fb_wide a = fb_load(bias), b = a, c = a, d = a;
    for (size_t k = 0; k < inner; k++) {
        const float *row = panel + k * FB_PANEL;
        a = fb_plus(a, in[0][k], row);
        if (count > 1) b = fb_plus(b, in[1][k], row);
        if (count > 2) c = fb_plus(c, in[2][k], row);
        if (count > 3) d = fb_plus(d, in[3][k], row);
    }
    fb_keep(out[0] + column, a);
    if (count > 1) fb_keep(out[1] + column, b);
    if (count > 2) fb_keep(out[2] + column, c);
    if (count > 3) fb_keep(out[3] + column, d);
}

/* out[m] = in[m] (inner) times the matrix (inner x columns) plus bias, for each row. */
FB_CLONES
static void fb_product(size_t rows, size_t inner, size_t columns, const float *matrix,
                       const float *bias, const float *const *in, float *const *out) {
    for (size_t column = 0; column < columns; column += FB_PANEL) {
        const float *panel = matrix + column * inner, *add = bias + column;
        size_t m = 0;
        for (; m + 4 <= rows; m += 4) fb_panel(4, inner, panel, add, in + m, out + m, column);
        if (rows - m == 3) fb_panel(3, inner, panel, add, in + m, out + m, column);
        else if (rows - m == 2) fb_panel(2, inner, panel, add, in + m, out + m, column);
        else if (rows - m == 1) fb_panel(1, inner, panel, add, in + m, out + m, column);
    }
}

static void fb_rectify(float *values, size_t count) {
    for (size_t n = 0; n < count; n++) values[n] = values[n] > 0 ? values[n] : 0;
}

/* e^x to 2 units in the last place: 2^n by the exponent's bits, the rest by a polynomial. */
FB_INLINE float fb_exp(float x) {
    union { float f; int32_t i; } power;
    float n, rest, sum;
    x = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
    n = (x * 1.44269504f + 12582912.0f) - 12582912.0f; /* rounded, by the size of a float's steps */
    rest = x - n * 0.693359375f + n * 2.12194440e-4f;
    sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    power.i = ((int32_t)n + 127) * (1 << 23);
    return sum * power.f;
}

FB_INLINE float fb_sigmoid(float x) { return 1.0f / (1.0f + fb_exp(-x)); }
FB_INLINE float fb_tanh(float x) { return 2.0f / (1.0f + fb_exp(-2.0f * x)) - 1.0f; }

/* What is remembered moves on: cell and hidden state, from the four gates. */
FB_CLONES
static void fb_remember(const float *gates, float *hidden, float *cell) {
    for (size_t n = 0; n < FB_STATE; n++) {
        float in = fb_sigmoid(gates[n]), forget = fb_sigmoid(gates[FB_STATE + n]);
        float found = fb_tanh(gates[2 * FB_STATE + n]), out = fb_sigmoid(gates[3 * FB_STATE + n]);
        cell[n] = forget * cell[n] + in * found;
        hidden[n] = out * fb_tanh(cell[n]);
    }
}

FB_CLONES
static void fb_measure(const float *spectrum, float *sizes) {
    for (size_t n = 0; n < FB_BINS; n++) {
        float re = spectrum[n], im = spectrum[FB_BINS + n];
        sizes[n] = sqrtf(re * re + im * im);
    }
}

/* The windows of at most FB_BATCH calls: `audio` mu-law, one behind the other; `hidden`, `cell` and
   `context` a row for each call, moved on; `scores` how likely each is speech. */
static void fb_network(const float *weights, const float *table, fb_pass *at, size_t count,
                       const uint8_t *audio, float *hidden, float *cell, float *context,
                       float *scores) {
    static const float none[FB_SPECTRUM];
    const float *in[FB_ROWS];
    float *out[FB_ROWS];
    for (size_t w = 0; w < count; w++) {
        float *heard = at->heard[w];
        memcpy(heard, context + w * FB_CONTEXT, FB_CONTEXT * sizeof *heard);
        for (size_t n = 0; n < FB_WINDOW; n++)
            heard[FB_CONTEXT + n] = table[audio[w * FB_WINDOW + n]];
        memcpy(context + w * FB_CONTEXT, heard + FB_WINDOW, FB_CONTEXT * sizeof *heard);
        for (size_t n = 0; n < FB_PADDED - FB_HEARD; n++)
            heard[FB_HEARD + n] = heard[FB_HEARD - 2 - n];
        for (size_t t = 0; t < FB_FRAMES; t++) {
            in[w * FB_FRAMES + t] = heard + t * FB_HOP;
            out[w * FB_FRAMES + t] = at->spectra[w][t];
        }
    }
    fb_product(count * FB_FRAMES, FB_FFT, FB_SPECTRUM, weights + FB_AT_SPECTRUM, none, in, out);
    for (size_t w = 0; w < count; w++)
        for (size_t t = 0; t < FB_FRAMES; t++) {
            fb_measure(at->spectra[w][t], at->sizes[w][t + 1]);
            in[w * FB_FRAMES + t] = at->sizes[w][t]; /* with the one before and the one behind */
            out[w * FB_FRAMES + t] = at->first[w][t + 1];
        }
    const float *layer = weights + FB_AT_FIRST;
    fb_product(count * FB_FRAMES, 3 * FB_BINS, 128, layer, layer + 3 * FB_BINS * 128, in, out);
    for (size_t w = 0; w < count; w++) {
        fb_rectify(at->first[w][1], FB_FRAMES * 128);
        for (size_t t = 0; t < 2; t++) { /* every other one, with its neighbours */
            in[w * 2 + t] = at->first[w][2 * t];
            out[w * 2 + t] = at->second[w][t];
        }
    }
    layer = weights + FB_AT_SECOND;
    fb_product(count * 2, 3 * 128, 64, layer, layer + 3 * 128 * 64, in, out);
    for (size_t w = 0; w < count; w++) {
        fb_rectify(at->second[w][0], 2 * 64);
        in[w] = at->second[w][0];
        out[w] = at->third[w];
    }
    layer = weights + FB_AT_THIRD;
    fb_product(count, 2 * 64, 64, layer, layer + 2 * 64 * 64, in, out);
    for (size_t w = 0; w < count; w++) {
        fb_rectify(at->third[w], 64);
        in[w] = at->third[w];
        out[w] = at->joined[w];
    }
    layer = weights + FB_AT_FOURTH;
    fb_product(count, 64, 128, layer, layer + 64 * 128, in, out);
    for (size_t w = 0; w < count; w++) {
        fb_rectify(at->joined[w], 128);
        memcpy(at->joined[w] + FB_STATE, hidden + w * FB_STATE, FB_STATE * sizeof *hidden);
        in[w] = at->joined[w];
        out[w] = at->gates[w];
    }
    layer = weights + FB_AT_MEMORY;
    fb_product(count, 2 * FB_STATE, 4 * FB_STATE, layer, layer + 8 * FB_STATE * FB_STATE, in, out);
    layer = weights + FB_AT_LAST;
    for (size_t w = 0; w < count; w++) {
        float sum = layer[FB_STATE], *now = hidden + w * FB_STATE;
        fb_remember(at->gates[w], now, cell + w * FB_STATE);
        for (size_t n = 0; n < FB_STATE; n++) sum += (now[n] > 0 ? now[n] : 0) * layer[n];
        scores[w] = fb_sigmoid(sum);
    }
}

#endif
