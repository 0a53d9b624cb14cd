/* Is a window of 256 mu-law bytes one or two pure tones? The rule and its limits: listening/tones.py.

   A call of numpy costs 1 to 3 us in a server and the rule takes twenty of them; this takes 3 us. */

#ifndef FB_TONES_H
#define FB_TONES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    FB_TONE_SAMPLES = 256,
    FB_TONE_BINS = FB_TONE_SAMPLES / 2 + 1,
    FB_TONE_SIDE = 4, /* a tone lies within so many bins of its strongest */
    FB_TONES_MAX = 2
};

typedef struct {
    float heard[256];              /* of each mu-law byte, -1 to 1 */
    float window[FB_TONE_SAMPLES]; /* keeps a tone within its bins */
    float cosine[FB_TONE_SAMPLES / 2], sine[FB_TONE_SAMPLES / 2];
    uint8_t mirrored[FB_TONE_SAMPLES];
} fb_tone_tables;

static void fb_prepare_tones(fb_tone_tables *at, const float *heard) {
    const double turn = 6.283185307179586;
    memcpy(at->heard, heard, sizeof at->heard);
    for (int n = 0; n < FB_TONE_SAMPLES; n++) {
        int bits = 0;
        for (int bit = 0; bit < 8; bit++) bits |= (n >> bit & 1) << (7 - bit);
        at->mirrored[n] = (uint8_t)bits;
        at->window[n] = (float)(0.5 - 0.5 * cos(turn * n / (FB_TONE_SAMPLES - 1)));
    }
    for (int n = 0; n < FB_TONE_SAMPLES / 2; n++) {
        at->cosine[n] = (float)cos(turn * n / FB_TONE_SAMPLES);
        at->sine[n] = (float)-sin(turn * n / FB_TONE_SAMPLES);
    }
}

/* The power of each bin of a window, the lowest four left out: there is the law's own offset. */
static void fb_power(const fb_tone_tables *at, const uint8_t *audio, float *power) {
    float re[FB_TONE_SAMPLES], im[FB_TONE_SAMPLES];
    for (size_t n = 0; n < FB_TONE_SAMPLES; n++) {
        size_t from = at->mirrored[n];
        re[n] = at->heard[audio[from]] * at->window[from];
        im[n] = 0;
    }
    for (size_t half = 1; half < FB_TONE_SAMPLES; half *= 2) {
        size_t step = FB_TONE_SAMPLES / 2 / half;
        for (size_t begin = 0; begin < FB_TONE_SAMPLES; begin += 2 * half)
            for (size_t n = 0; n < half; n++) {
                size_t low = begin + n, high = low + half;
                float c = at->cosine[n * step], s = at->sine[n * step];
                float x = re[high] * c - im[high] * s, y = re[high] * s + im[high] * c;
                re[high] = re[low] - x;
                im[high] = im[low] - y;
                re[low] += x;
                im[low] += y;
            }
    }
    memset(power, 0, FB_TONE_SIDE * sizeof *power);
    for (size_t n = FB_TONE_SIDE; n < FB_TONE_BINS; n++) power[n] = re[n] * re[n] + im[n] * im[n];
}

static int fb_is_tone(const fb_tone_tables *at, const uint8_t *audio, double lowest_hz,
                      double highest_hz, double weakest, double rest_max) {
    float power[FB_TONE_BINS];
    double whole = 0, rest = 0;
    fb_power(at, audio, power);
    for (int n = 0; n < FB_TONE_BINS; n++) whole += power[n];
    for (int tone = 0; tone < FB_TONES_MAX; tone++) {
        int peak = 0, last;
        double hertz;
        for (int n = 1; n < FB_TONE_BINS; n++)
            if (power[n] > power[peak]) peak = n;
        if (power[peak] <= weakest * whole) break;
        hertz = peak * 8000.0 / FB_TONE_SAMPLES;
        if (hertz < lowest_hz || hertz > highest_hz) return 0;
        last = peak + FB_TONE_SIDE < FB_TONE_BINS ? peak + FB_TONE_SIDE : FB_TONE_BINS - 1;
        for (int n = peak - FB_TONE_SIDE; n <= last; n++) power[n] = 0;
    }
    for (int n = 0; n < FB_TONE_BINS; n++) rest += power[n];
    return 0 < rest && rest < rest_max * whole;
}

#endif
