/* The steps themselves, on the package's own headers: what is counted here is what is shipped. */
#include "frame_steps.h"

#include "_ring_core.h"
#include "_scan.h"
#include "_websocket.h"

#define DELTA_BYTES 3200
#define KEEP(value) __asm__ volatile("" : : "g"(value) : "memory")

static const char prefix[] = "{\"event\":\"media\",\"streamSid\":\"MZ00112233445566778899aabbccddeeff\","
                             "\"media\":{\"payload\":\"";
static const char suffix[] = "\"}}";

static fb_ring fixed, paged;
static fb_pool pool;
static uint8_t frame[FB_FRAME_BYTES], scratch[FB_FRAME_BYTES + 8], delta[DELTA_BYTES + 8];
static char text[8192], encoded_frame[256], encoded_delta[8192];
static char media[1024], speech[8192], masked[1024];
static size_t media_size, speech_size, encoded_frame_size, encoded_delta_size;

static void write_and_read(fb_ring *ring, long n) {
    int epoch = fb_epoch(fb_load_acquire(&ring->tail));
    while (n-- > 0) {
        KEEP(fb_write(ring, frame, FB_FRAME_BYTES, epoch));
        KEEP(fb_read(ring, scratch, 0));
    }
}

static void fixed_write_and_read(long n) {
    write_and_read(&fixed, n);
}

static void paged_write_and_read(long n) {
    write_and_read(&paged, n);
}

static void flush(long n) {
    while (n-- > 0) {
        KEEP(fb_flush(&fixed));
        KEEP(fb_look(&fixed));
    }
}

/* As next_message() of _ring.pyx, without the bytes object. */
static void write_and_message(long n) {
    int epoch = fb_epoch(fb_load_acquire(&paged.tail));
    while (n-- > 0) {
        uint64_t word;
        size_t count;
        KEEP(fb_write(&paged, frame, FB_FRAME_BYTES, epoch));
        count = fb_peek(&paged, scratch, 0, &word);
        memcpy(text, prefix, sizeof prefix - 1);
        fb_encode(scratch, FB_FRAME_BYTES, text + sizeof prefix - 1);
        memcpy(text + sizeof prefix - 1 + encoded_frame_size, suffix, sizeof suffix - 1);
        KEEP(fb_take(&paged, count, word));
    }
}

static void delta_written(long n) {
    while (n-- > 0) {
        int epoch = fb_epoch(fb_load_acquire(&paged.tail));
        KEEP(fb_write_base64(&paged, (const uint8_t *)encoded_delta, encoded_delta_size, epoch));
        KEEP(fb_flush(&paged));
        KEEP(fb_look(&paged));
    }
}

static void encode_frame(long n) {
    while (n-- > 0) {
        fb_encode(frame, FB_FRAME_BYTES, text);
        KEEP(text);
    }
}

static void decode_frame(long n) {
    size_t groups = encoded_frame_size / 4 - 1;
    while (n-- > 0) {
        KEEP(fb_decode_groups((const uint8_t *)encoded_frame, groups, scratch));
    }
}

static void decode_delta(long n) {
    size_t groups = encoded_delta_size / 4 - 1;
    while (n-- > 0) {
        KEEP(fb_decode_groups((const uint8_t *)encoded_delta, groups, delta));
    }
}

static void measure_frame(long n) {
    while (n-- > 0) {
        KEEP(fb_measure((const uint8_t *)encoded_frame, encoded_frame_size));
    }
}

static void scan_media(long n) {
    fs_media found;
    while (n-- > 0) {
        KEEP(fs_scan_media((const uint8_t *)media, media_size, &found));
    }
}

static void scan_delta(long n) {
    fs_delta found;
    while (n-- > 0) {
        KEEP(fs_scan_delta((const uint8_t *)speech, speech_size, &found));
    }
}

static void unmask_media(long n) {
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    while (n-- > 0) {
        KEEP(fw_mask((const uint8_t *)media, media_size, mask, 0, (uint8_t *)masked));
    }
}

const frame_step frame_steps[] = {
    {"ring, fixed: write + read", fixed_write_and_read},
    {"ring, paged: write + read", paged_write_and_read},
    {"ring: flush", flush},
    {"ring: write + finished message", write_and_message},
    {"ring: delta of 400 ms written, flushed", delta_written},
    {"base64: frame encoded", encode_frame},
    {"base64: frame decoded", decode_frame},
    {"base64: delta of 400 ms decoded", decode_delta},
    {"base64: frame checked, level measured", measure_frame},
    {"scan: a caller's media message", scan_media},
    {"scan: an audio delta of 400 ms", scan_delta},
    {"socket: a caller's frame unmasked", unmask_media},
    {NULL, NULL},
};

static size_t put(char *to, size_t at, const char *what) {
    size_t size = strlen(what);
    memcpy(to + at, what, size + 1);
    return at + size;
}

static void make_texts(void) {
    static uint8_t sound[DELTA_BYTES];
    for (int at = 0; at < DELTA_BYTES; at++) {
        sound[at] = (uint8_t)(at * 37);
    }
    memcpy(frame, sound, sizeof frame);
    encoded_frame_size = fb_encoded_bytes(FB_FRAME_BYTES);
    encoded_delta_size = fb_encoded_bytes(DELTA_BYTES);
    fb_encode(frame, FB_FRAME_BYTES, encoded_frame);
    fb_encode(sound, DELTA_BYTES, encoded_delta);
    media_size = put(media, 0, "{\"event\":\"media\",\"sequenceNumber\":\"4\",\"media\":{"
                               "\"track\":\"inbound\",\"chunk\":\"2\",\"timestamp\":\"40\","
                               "\"payload\":\"");
    media_size = put(media, media_size, encoded_frame);
    media_size = put(media, media_size, "\"},\"streamSid\":\"MZ00112233445566778899aabbccddeeff\"}");
    speech_size = put(speech, 0, "{\"type\":\"response.output_audio.delta\",\"event_id\":\"event_9\","
                                 "\"response_id\":\"resp_1\",\"item_id\":\"item_7\","
                                 "\"output_index\":0,\"content_index\":0,\"delta\":\"");
    speech_size = put(speech, speech_size, encoded_delta);
    speech_size = put(speech, speech_size, "\"}");
}

int frame_steps_start(void) {
    fs_media one;
    fs_delta other;
    make_texts();
    fb_pool_start(&pool, 1024);
    if (!fb_ring_start(&fixed, NULL, 150 * FB_FRAME_BYTES, 50 * FB_FRAME_BYTES) ||
        !fb_ring_start(&paged, &pool, 12000 * FB_FRAME_BYTES, 50 * FB_FRAME_BYTES)) {
        return 0;
    }
    /* A text that the scan refuses would be counted as a very quick one. */
    return fs_scan_media((const uint8_t *)media, media_size, &one) &&
           fs_scan_delta((const uint8_t *)speech, speech_size, &other);
}
