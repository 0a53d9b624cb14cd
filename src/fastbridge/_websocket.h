/* RFC 6455 framing in plain C: heads, masks, and the proof that a payload is ASCII.
 *
 * Nothing here allocates, blocks or knows Python. Section numbers are those of RFC 6455.
 */
#ifndef FASTBRIDGE_WEBSOCKET_H
#define FASTBRIDGE_WEBSOCKET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_atomics.h"

#ifndef _WIN32
#include <sys/socket.h>
#endif

enum {
    FW_CONTINUATION = 0x0,
    FW_TEXT = 0x1,
    FW_BINARY = 0x2,
    FW_CLOSE = 0x8,
    FW_PING = 0x9,
    FW_PONG = 0xA,
    FW_HEAD_MAX = 14,   /* 2 + 8 bytes of length + 4 of mask (5.2) */
    FW_CONTROL_MAX = 125 /* 5.5 */
};

typedef struct {
    int is_final;
    int opcode;
    int is_masked;
    uint8_t mask[4];
    uint64_t size; /* of the payload */
} fw_head;

/* Read a frame's head from `have` bytes. Return its length in bytes, 0 when more bytes are needed,
 * -1 when reserved bits or opcodes are used, a length is not the shortest, or a control frame is
 * long or fragmented (5.2, 5.5). */
FB_INLINE int fw_read_head(const uint8_t *from, size_t have, fw_head *head) {
    if (have < 2) {
        return 0;
    }
    head->is_final = from[0] >> 7;
    head->opcode = from[0] & 0x0F;
    head->is_masked = from[1] >> 7;
    if ((from[0] & 0x70) != 0 || (head->opcode & 0x7) > 2) {
        return -1;
    }
    uint64_t size = from[1] & 0x7F;
    if (head->opcode >= FW_CLOSE && (size > FW_CONTROL_MAX || !head->is_final)) {
        return -1;
    }
    int length = 2;
    if (size >= 126) {
        int wide = size == 126 ? 2 : 8;
        if (have < (size_t)(2 + wide)) {
            return 0;
        }
        size = 0;
        for (int at = 0; at < wide; at++) {
            size = size << 8 | from[2 + at];
        }
        if (size < (wide == 2 ? 126u : 65536u) || size >> 63 != 0) {
            return -1;
        }
        length += wide;
    }
    if (head->is_masked) {
        if (have < (size_t)(length + 4)) {
            return 0;
        }
        memcpy(head->mask, from + length, 4);
        length += 4;
    }
    head->size = size;
    return length;
}

/* Return how long the head of a frame is that carries `size` bytes. */
FB_INLINE size_t fw_head_bytes(size_t size, int is_masked) {
    return (size < 126 ? 2u : size < 65536 ? 4u : 10u) + (is_masked ? 4u : 0u);
}

/* Write the head of a final frame without its mask; return how many bytes that were. */
FB_INLINE size_t fw_write_head(uint8_t *to, int opcode, size_t size, int is_masked) {
    uint8_t flag = is_masked ? 0x80 : 0;
    to[0] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        to[1] = (uint8_t)(flag | size);
        return 2;
    }
    int wide = size < 65536 ? 2 : 8;
    to[1] = (uint8_t)(flag | (wide == 2 ? 126 : 127));
    for (int at = 0; at < wide; at++) {
        to[2 + at] = (uint8_t)((uint64_t)size >> (8 * (wide - 1 - at)));
    }
    return (size_t)(2 + wide);
}

/* Copy `size` bytes while masking or unmasking them (5.3); `phase` is how many bytes of this
 * payload went before. Return the OR of all bytes written: below 0x80 the text is ASCII. */
FB_INLINE uint8_t fw_mask(const uint8_t *from, size_t size, const uint8_t mask[4], size_t phase,
                          uint8_t *to) {
    uint8_t turned[8];
    for (size_t at = 0; at < 8; at++) {
        turned[at] = mask[(phase + at) & 3];
    }
    uint64_t key, seen = 0;
    memcpy(&key, turned, 8);
    size_t at = 0;
    for (; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, from + at, 8);
        word ^= key;
        seen |= word;
        memcpy(to + at, &word, 8);
    }
    uint8_t any = 0;
    for (; at < size; at++) {
        to[at] = (uint8_t)(from[at] ^ turned[at & 7]);
        any |= to[at];
    }
    for (int shift = 0; shift < 64; shift += 8) {
        any |= (uint8_t)(seen >> shift);
    }
    return any;
}

/* Say whether a close code may stand in a frame (7.4). */
FB_INLINE int fw_is_close_code(unsigned code) {
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

/* Give bytes to the kernel, as many as it takes at once; -1: none. */
FB_INLINE ptrdiff_t fw_send(int fd, const char *data, size_t size) {
#if defined(MSG_DONTWAIT) && defined(MSG_NOSIGNAL)
    return (ptrdiff_t)send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
#else
    (void)fd;
    (void)data;
    (void)size;
    return -1;
#endif
}

#endif
