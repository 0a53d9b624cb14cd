/* A reader of the three JSON messages that come many times a second, and of nothing else.
 *
 * It knows flat objects of plain strings and short whole numbers, and one level of nesting. What it
 * does not know for certain (escapes, control characters, anything beyond ASCII, unknown or
 * repeated names) it leaves to the full parser: a refusal costs time, a mistake would cost truth.
 */
#ifndef FASTBRIDGE_SCAN_H
#define FASTBRIDGE_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "_atomics.h"

typedef struct {
    const uint8_t *at;
    size_t size;
} fs_slice;

typedef struct {
    const uint8_t *at, *end;
} fs_cursor;

FB_INLINE void fs_skip_blank(fs_cursor *c) {
    while (c->at < c->end &&
           (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t')) {
        c->at++;
    }
}

/* Step over blanks and one character; say whether it was there. */
FB_INLINE int fs_take(fs_cursor *c, uint8_t character) {
    fs_skip_blank(c);
    if (c->at >= c->end || *c->at != character) {
        return 0;
    }
    c->at++;
    return 1;
}

/* Say whether any of eight characters is a quote, a backslash, a control or beyond ASCII. */
FB_INLINE int fs_is_special(uint64_t word) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
    uint64_t found = (word - ones * 0x20) | (quote - ones) | (slash - ones) | word;
    return (found & highs) != 0; /* may say yes once too often: the slow loop looks again */
}

/* Read a string without escapes. */
FB_INLINE int fs_string(fs_cursor *c, fs_slice *found) {
    if (!fs_take(c, '"')) {
        return 0;
    }
    const uint8_t *at = c->at;
    found->at = at;
    while (c->end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        if (fs_is_special(word)) {
            break;
        }
        at += 8;
    }
    while (at < c->end && *at != '"') {
        if (*at < 0x20 || *at >= 0x80 || *at == '\\') {
            return 0;
        }
        at++;
    }
    if (at >= c->end) {
        return 0;
    }
    found->size = (size_t)(at - found->at);
    c->at = at + 1;
    return 1;
}

/* Read a whole number of one to nine digits, as JSON writes it. */
FB_INLINE int fs_number(fs_cursor *c) {
    fs_skip_blank(c);
    const uint8_t *from = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') {
        c->at++;
    }
    size_t digits = (size_t)(c->at - from);
    return digits == 1 || (digits > 1 && digits < 10 && *from != '0');
}

FB_INLINE int fs_is(const fs_slice *one, const char *text) {
    size_t size = strlen(text);
    return one->size == size && memcmp(one->at, text, size) == 0;
}

/* Nothing but blanks may follow. */
FB_INLINE int fs_at_end(fs_cursor *c) {
    fs_skip_blank(c);
    return c->at == c->end;
}

/* Between members: 1 after a comma, 0 after the closing brace, -1 for anything else. */
FB_INLINE int fs_next_member(fs_cursor *c) {
    if (fs_take(c, ',')) {
        return 1;
    }
    return fs_take(c, '}') ? 0 : -1;
}

typedef struct {
    fs_slice event, sequence, stream_sid, track, chunk, timestamp, payload;
} fs_media;

/* Read the inside of `media`, behind its opening brace. */
FB_INLINE int fs_read_media(fs_cursor *c, fs_media *found) {
    int more = 1;
    while (more == 1) {
        fs_slice name, *place;
        if (!fs_string(c, &name) || !fs_take(c, ':')) {
            return 0;
        }
        place = fs_is(&name, "payload")     ? &found->payload
                : fs_is(&name, "timestamp") ? &found->timestamp
                : fs_is(&name, "chunk")     ? &found->chunk
                : fs_is(&name, "track")     ? &found->track
                                            : NULL;
        if (place == NULL || place->at != NULL || !fs_string(c, place)) {
            return 0;
        }
        more = fs_next_member(c);
    }
    return more == 0;
}

/* Say whether a text is exactly one Twilio `media` message, and find its parts. */
FB_INLINE int fs_scan_media(const uint8_t *text, size_t size, fs_media *found) {
    fs_cursor c = {text, text + size};
    memset(found, 0, sizeof *found);
    int more = 1, has_media = 0;
    if (!fs_take(&c, '{')) {
        return 0;
    }
    while (more == 1) {
        fs_slice name, *place;
        if (!fs_string(&c, &name) || !fs_take(&c, ':')) {
            return 0;
        }
        if (fs_is(&name, "media")) {
            if (has_media || !fs_take(&c, '{') || !fs_read_media(&c, found)) {
                return 0;
            }
            has_media = 1;
        } else {
            place = fs_is(&name, "event")            ? &found->event
                    : fs_is(&name, "sequenceNumber") ? &found->sequence
                    : fs_is(&name, "streamSid")      ? &found->stream_sid
                                                     : NULL;
            if (place == NULL || place->at != NULL || !fs_string(&c, place)) {
                return 0;
            }
        }
        more = fs_next_member(&c);
    }
    return more == 0 && fs_at_end(&c) && found->event.at != NULL && fs_is(&found->event, "media") &&
           found->payload.at != NULL && found->stream_sid.at != NULL &&
           (found->track.at == NULL || fs_is(&found->track, "inbound"));
}

typedef struct {
    fs_slice event, sequence, stream_sid, name;
} fs_mark;

/* Say whether a text is exactly one Twilio `mark` message, and find its parts. */
FB_INLINE int fs_scan_mark(const uint8_t *text, size_t size, fs_mark *found) {
    fs_cursor c = {text, text + size};
    memset(found, 0, sizeof *found);
    int more = 1;
    if (!fs_take(&c, '{')) {
        return 0;
    }
    while (more == 1) {
        fs_slice name, inner, *place;
        if (!fs_string(&c, &name) || !fs_take(&c, ':')) {
            return 0;
        }
        if (fs_is(&name, "mark")) {
            if (found->name.at != NULL || !fs_take(&c, '{') || !fs_string(&c, &inner) ||
                !fs_is(&inner, "name") || !fs_take(&c, ':') || !fs_string(&c, &found->name) ||
                !fs_take(&c, '}')) {
                return 0;
            }
        } else {
            place = fs_is(&name, "event")            ? &found->event
                    : fs_is(&name, "sequenceNumber") ? &found->sequence
                    : fs_is(&name, "streamSid")      ? &found->stream_sid
                                                     : NULL;
            if (place == NULL || place->at != NULL || !fs_string(&c, place)) {
                return 0;
            }
            if (place == &found->event && !fs_is(&found->event, "mark")) {
                return 0;
            }
        }
        more = fs_next_member(&c);
    }
    return more == 0 && fs_at_end(&c) && found->event.at != NULL && found->name.at != NULL &&
           found->stream_sid.at != NULL;
}

typedef struct {
    fs_slice type, event_id, response_id, item_id, delta;
} fs_delta;

/* Say whether a text is exactly one audio delta of a response, and find its parts. */
FB_INLINE int fs_scan_delta(const uint8_t *text, size_t size, fs_delta *found) {
    fs_cursor c = {text, text + size};
    memset(found, 0, sizeof *found);
    int more = 1;
    if (!fs_take(&c, '{')) {
        return 0;
    }
    while (more == 1) {
        fs_slice name, *place;
        if (!fs_string(&c, &name) || !fs_take(&c, ':')) {
            return 0;
        }
        if (fs_is(&name, "output_index") || fs_is(&name, "content_index")) {
            if (!fs_number(&c)) {
                return 0;
            }
        } else {
            place = fs_is(&name, "type")          ? &found->type
                    : fs_is(&name, "delta")       ? &found->delta
                    : fs_is(&name, "response_id") ? &found->response_id
                    : fs_is(&name, "item_id")     ? &found->item_id
                    : fs_is(&name, "event_id")    ? &found->event_id
                                                  : NULL;
            if (place == NULL || place->at != NULL || !fs_string(&c, place)) {
                return 0;
            }
            if (place == &found->type && !fs_is(&found->type, "response.output_audio.delta") &&
                !fs_is(&found->type, "response.audio.delta")) {
                return 0; /* most events are something else, and say so first */
            }
        }
        more = fs_next_member(&c);
    }
    return more == 0 && fs_at_end(&c) && found->type.at != NULL && found->response_id.size != 0 &&
           found->item_id.size != 0 && found->delta.at != NULL;
}

/* Return a string of one to twelve digits as a number, -1 for anything else. */
FB_INLINE int64_t fs_digits(const fs_slice *one) {
    int64_t value = 0;
    if (one->size == 0 || one->size > 12) {
        return -1;
    }
    for (size_t at = 0; at < one->size; at++) {
        if (one->at[at] < '0' || one->at[at] > '9') {
            return -1;
        }
        value = value * 10 + (one->at[at] - '0');
    }
    return value;
}

#endif
