/* Base64 (RFC 4648 section 4) fast enough to run once per audio frame, with constant tables.
 *
 * Standard alphabet, padding required. Like Python's base64 module it accepts a last group whose
 * unused bits are not zero. The tables are built by the preprocessor: nothing runs at import, so
 * sub-interpreters and threads share them without a thought.
 */
#ifndef FASTBRIDGE_BASE64_H
#define FASTBRIDGE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_atomics.h"

/* Encode: 12 bits -> two characters (8 KiB). A 64-entry table takes 2.4 times as long. */
#define FB_CH(v) ((char)((v) < 26 ? 'A' + (v) : (v) < 52 ? 'a' + (v) - 26 : \
                         (v) < 62 ? '0' + (v) - 52 : (v) == 62 ? '+' : '/'))
#define FB_E1(i) {FB_CH((i) >> 6), FB_CH((i) & 63)}
#define FB_E4(i) FB_E1(i), FB_E1((i) + 1), FB_E1((i) + 2), FB_E1((i) + 3)
#define FB_E16(i) FB_E4(i), FB_E4((i) + 4), FB_E4((i) + 8), FB_E4((i) + 12)
#define FB_E64(i) FB_E16(i), FB_E16((i) + 16), FB_E16((i) + 32), FB_E16((i) + 48)
#define FB_E256(i) FB_E64(i), FB_E64((i) + 64), FB_E64((i) + 128), FB_E64((i) + 192)
#define FB_E1024(i) FB_E256(i), FB_E256((i) + 256), FB_E256((i) + 512), FB_E256((i) + 768)
static const char fb_pairs[4096][2] = {FB_E1024(0), FB_E1024(1024), FB_E1024(2048), FB_E1024(3072)};

/* Decode: one table per character of a group, already shifted; bits 24-31 mean "no such character". */
#define FB_BAD 0xFF000000u
#define FB_D1(c, s) ((c) >= 'A' && (c) <= 'Z' ? (uint32_t)((c) - 'A') << (s) : \
                     (c) >= 'a' && (c) <= 'z' ? (uint32_t)((c) - 'a' + 26) << (s) : \
                     (c) >= '0' && (c) <= '9' ? (uint32_t)((c) - '0' + 52) << (s) : \
                     (c) == '+' ? 62u << (s) : (c) == '/' ? 63u << (s) : FB_BAD)
#define FB_D4(c, s) FB_D1(c, s), FB_D1((c) + 1, s), FB_D1((c) + 2, s), FB_D1((c) + 3, s)
#define FB_D16(c, s) FB_D4(c, s), FB_D4((c) + 4, s), FB_D4((c) + 8, s), FB_D4((c) + 12, s)
#define FB_D64(c, s) FB_D16(c, s), FB_D16((c) + 16, s), FB_D16((c) + 32, s), FB_D16((c) + 48, s)
#define FB_D256(s) {FB_D64(0, s), FB_D64(64, s), FB_D64(128, s), FB_D64(192, s)}
static const uint32_t fb_first[256] = FB_D256(18);
static const uint32_t fb_second[256] = FB_D256(12);
static const uint32_t fb_third[256] = FB_D256(6);
static const uint32_t fb_fourth[256] = FB_D256(0);

/* Return the number of characters that `count` bytes become. */
FB_INLINE size_t fb_encoded_bytes(size_t count) {
    return (count + 2) / 3 * 4;
}

FB_INLINE void fb_encode_group(const uint8_t *from, char *to) {
    uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
    memcpy(to, fb_pairs[bits >> 12], 2);
    memcpy(to + 2, fb_pairs[bits & 0xFFF], 2);
}

/* Turn eight bytes in memory order into a number whose top byte was first, or back. */
FB_INLINE uint64_t fb_in_order(uint64_t bits) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return bits;
#elif defined(_MSC_VER)
    return _byteswap_uint64(bits);
#else
    return __builtin_bswap64(bits);
#endif
}

/* Encode `count` bytes; `from` must be readable two bytes beyond them (the ring's scratch is). */
FB_INLINE void fb_encode(const uint8_t *from, size_t count, char *to) {
    size_t at = 0;
    for (; at + 6 <= count; at += 6, to += 8) {
        uint64_t bits; /* eight bytes at once: a six-byte load defeats store forwarding */
        memcpy(&bits, from + at, 8);
        bits = fb_in_order(bits);
        memcpy(to, fb_pairs[bits >> 52], 2);
        memcpy(to + 2, fb_pairs[bits >> 40 & 0xFFF], 2);
        memcpy(to + 4, fb_pairs[bits >> 28 & 0xFFF], 2);
        memcpy(to + 6, fb_pairs[bits >> 16 & 0xFFF], 2);
    }
    for (; at + 3 <= count; at += 3, to += 4) {
        fb_encode_group(from + at, to);
    }
    if (at < count) {
        uint8_t last[3] = {from[at], (uint8_t)(at + 1 < count ? from[at + 1] : 0), 0};
        fb_encode_group(last, to);
        to[3] = '=';
        if (at + 1 == count) {
            to[2] = '=';
        }
    }
}

/* Return how many '=' end a text of `size` characters (a positive multiple of 4). */
FB_INLINE size_t fb_padding(const uint8_t *text, size_t size) {
    return text[size - 1] != '=' ? 0 : text[size - 2] != '=' ? 1 : 2;
}

/* Return what `size` characters decode to in bytes, or -1 when size is no multiple of 4. */
FB_INLINE int64_t fb_decoded_bytes(const uint8_t *text, size_t size) {
    if (size % 4 != 0) {
        return -1;
    }
    return size == 0 ? 0 : (int64_t)(size / 4 * 3 - fb_padding(text, size));
}

FB_INLINE uint32_t fb_decode_group(const uint8_t *text) {
    return fb_first[text[0]] | fb_second[text[1]] | fb_third[text[2]] | fb_fourth[text[3]];
}

/* Decode whole groups into exactly 3 * groups bytes; return the collected FB_BAD bits. */
FB_INLINE uint32_t fb_decode_groups(const uint8_t *text, size_t groups, uint8_t *to) {
    uint32_t seen = 0;
    for (; groups > 2; groups -= 2, text += 8, to += 6) { /* the third takes the spill of 2 bytes */
        uint32_t one = fb_decode_group(text);
        uint32_t two = fb_decode_group(text + 4);
        uint64_t bits = fb_in_order((uint64_t)one << 40 | (uint64_t)two << 16);
        seen |= one | two;
        memcpy(to, &bits, 8);
    }
    for (; groups != 0; groups--, text += 4, to += 3) {
        uint32_t bits = fb_decode_group(text);
        seen |= bits;
        to[0] = (uint8_t)(bits >> 16);
        to[1] = (uint8_t)(bits >> 8);
        to[2] = (uint8_t)bits;
    }
    return seen & FB_BAD;
}

/* Decode the last group, which ends in one or two '=', to `to[0..1]`; return FB_BAD bits. */
FB_INLINE uint32_t fb_decode_last(const uint8_t *text, size_t padding, uint8_t *to) {
    uint32_t bits = fb_first[text[0]] | fb_second[text[1]];
    if (padding == 1) {
        bits |= fb_third[text[2]];
    }
    to[0] = (uint8_t)(bits >> 16);
    to[1] = (uint8_t)(bits >> 8);
    return bits & FB_BAD;
}

/* Return the offset of the first character that makes `text` invalid, or `size` when none does. */
FB_INLINE size_t fb_bad_offset(const uint8_t *text, size_t size) {
    size_t body = size - (size == 0 ? 0 : fb_padding(text, size));
    size_t at = 0;
    while (at < body && fb_fourth[text[at]] != FB_BAD) {
        at++;
    }
    return at == body ? size : at;
}

/* Return the decoded length in bytes without decoding, or -1 when `text` is not base64. */
FB_INLINE int64_t fb_inspect(const uint8_t *text, size_t size) {
    int64_t count = fb_decoded_bytes(text, size);
    if (count <= 0) {
        return count;
    }
    size_t body = size - fb_padding(text, size);
    uint32_t seen = 0;
    size_t at = 0;
    for (; at + 4 <= body; at += 4) {
        seen |= fb_fourth[text[at]] | fb_fourth[text[at + 1]];
        seen |= fb_fourth[text[at + 2]] | fb_fourth[text[at + 3]];
    }
    for (; at < body; at++) {
        seen |= fb_fourth[text[at]];
    }
    return (seen & FB_BAD) != 0 ? -1 : count;
}

/* Level: the G.711 amplitude of each mu-law byte in 14 bits (0..8031), a quarter of its 16-bit
 * sample, so that the caller's loudness is known without decoding to memory (512 B of table). */
#define FB_L1(b) \
    ((uint16_t)(((((((~(b)) & 0x0F) << 3) + 0x84) << ((~(b) >> 4) & 0x07)) - 0x84) >> 2))
#define FB_L4(b) FB_L1(b), FB_L1((b) + 1), FB_L1((b) + 2), FB_L1((b) + 3)
#define FB_L16(b) FB_L4(b), FB_L4((b) + 4), FB_L4((b) + 8), FB_L4((b) + 12)
#define FB_L64(b) FB_L16(b), FB_L16((b) + 16), FB_L16((b) + 32), FB_L16((b) + 48)
static const uint16_t fb_level[256] = {FB_L64(0), FB_L64(64), FB_L64(128), FB_L64(192)};

/* Return decoded bytes << 16 | mean 14-bit amplitude (rounded down), or -1: not base64. */
FB_INLINE int64_t fb_measure(const uint8_t *text, size_t size) {
    int64_t count = fb_decoded_bytes(text, size);
    if (count <= 0) {
        return count;
    }
    size_t padding = fb_padding(text, size);
    size_t groups = size / 4 - (padding != 0);
    uint32_t seen = 0;
    uint64_t sum = 0;
    for (; groups != 0; groups--, text += 4) {
        uint32_t bits = fb_decode_group(text);
        seen |= bits;
        sum += (uint32_t)fb_level[bits >> 16 & 0xFF] + fb_level[bits >> 8 & 0xFF] +
               fb_level[bits & 0xFF];
    }
    if (padding != 0) {
        uint8_t last[2];
        seen |= fb_decode_last(text, padding, last);
        sum += fb_level[last[0]];
        sum += padding == 1 ? fb_level[last[1]] : 0;
    }
    return (seen & FB_BAD) != 0 ? -1 : count << 16 | (int64_t)(sum / (uint64_t)count);
}

#endif
