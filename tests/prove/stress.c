/* Three threads on the real ring: a producer, a flusher and holder, a reader that rewinds.
 *
 * What a byte is follows from the producer's own count of accepted bytes and the epoch it wrote
 * under, so the reader judges every byte by what the producer says, not by what the ring believes.
 * usage: stress fixed|paged READS SEED
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "_ring_core.h"

#define LIMIT 3200u
#define RETAIN 960u
#define WRITE_MAX 700u
#define PAGED_LIMIT 60000u
#define PAGED_RETAIN 16000u
#define HANG_S 60u

static fb_ring ring;
static fb_pool pool;
static uint64_t limit_bytes, retain_bytes, reads_wanted;
static uint64_t stop;          /* C sets, P and K look */
static uint64_t flushed_epoch; /* epoch of the last flush of K that has returned */
/* P's own books, read by C only for bytes that the ring has shown it. */
static uint64_t first_of[FB_EPOCHS];
static uint64_t accepted, accepted_epoch, pages_most;

static void fail(const char *what, uint64_t a, uint64_t b) {
    fprintf(stderr, "stress: %s (%llu, %llu)\n", what, (unsigned long long)a,
            (unsigned long long)b);
    fflush(stderr);
    _exit(3);
}

static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 16;
}

/* The byte that belongs at `position` when it was written under `epoch`. */
static uint8_t byte_at(uint64_t position, uint64_t epoch) {
    uint64_t word = (position >> 3) * 0x9E3779B97F4A7C15u ^ (epoch + 1) * 0xC2B2AE3D27D4EB4Fu;
    word ^= word >> 29;
    word *= 0xBF58476D1CE4E5B9u;
    return (uint8_t)(word >> ((position & 7) * 8));
}

static void fill(uint8_t *to, size_t count, uint64_t position, uint64_t epoch) {
    for (size_t at = 0; at < count; at++) {
        to[at] = byte_at(position + at, epoch);
    }
}

/* ---- P ---- */

static int current_epoch(void) {
    return fb_epoch(fb_load_acquire(&ring.tail));
}

static int64_t write_some(uint8_t *data, size_t count, int epoch, int as_text) {
    static char text[WRITE_MAX * 2];
    if (!as_text) {
        return fb_write(&ring, data, count, epoch);
    }
    fb_encode(data, count, text);
    return fb_write_base64(&ring, (const uint8_t *)text, fb_encoded_bytes(count), epoch);
}

static void *produce(void *argument) {
    uint64_t state = *(uint64_t *)argument;
    uint8_t data[WRITE_MAX + 8];
    int epoch = current_epoch();
    first_of[epoch] = 0;
    while (fb_load_acquire(&stop) == 0) {
        uint64_t dice = next_random(&state);
        size_t count = 1 + (size_t)(dice % WRITE_MAX);
        int64_t done;
        fill(data, count, accepted, (uint64_t)epoch);
        done = write_some(data, count, epoch, (dice >> 20) % 4 == 0);
        if (done == FB_STALE) {
            epoch = current_epoch();
            first_of[epoch] = accepted;
        } else if (done == FB_FULL) {
            sched_yield();
            if (pool.pages_max != 0 && (dice >> 24) % 8 == 0) {
                fb_reclaim(&ring);
            }
        } else if (done != (int64_t)count) {
            fail("a write was neither whole nor refused", (uint64_t)done, count);
        } else {
            accepted += count;
            accepted_epoch = (uint64_t)epoch;
        }
        /* relaxed: an acquire here would hide a ring that forgets its own */
        if (accepted - fb_load_relaxed(&ring.head) > limit_bytes) {
            fail("I1: more unread than the limit", accepted, fb_load_relaxed(&ring.head));
        }
        if (pool.pages_in_use > pages_most) {
            pages_most = pool.pages_in_use;
        }
    }
    return NULL;
}

/* ---- K ---- */

static void *flush_and_hold(void *argument) {
    uint64_t state = *(uint64_t *)argument;
    while (fb_load_acquire(&stop) == 0) {
        uint64_t dice = next_random(&state);
        if (dice % 8 == 0) {
            fb_set_hold(&ring, 1);
        } else {
            uint64_t before = (uint64_t)current_epoch();
            fb_flush(&ring);
            if (((uint64_t)current_epoch() - before) % FB_EPOCHS == 0) {
                fail("a flush returned and the epoch is the old one", before, 0);
            }
            fb_store_release(&flushed_epoch, (uint64_t)current_epoch());
        }
        for (dice = (dice >> 8) % 2000; dice != 0 && fb_load_relaxed(&stop) == 0; dice--) {
        }
        if ((next_random(&state) & 1) != 0) {
            sched_yield();
        }
    }
    return NULL;
}

/* ---- C ---- */

typedef struct {
    uint64_t state, position, epoch, reads, bytes, rewinds, epochs;
    uint64_t head;
} reader;

/* Say what a wrong byte is. */
static void name_wrong_byte(uint64_t position, uint64_t epoch, const uint8_t *frame, size_t count) {
    uint8_t other[FB_MESSAGE_FRAMES_MAX * FB_FRAME_BYTES];
    for (uint64_t back = 1; back < 100 && count >= 8; back++) {
        fill(other, count, position, (epoch - back) % FB_EPOCHS);
        if (memcmp(other, frame, count) == 0) {
            fail("stale: bytes of an epoch that was flushed", epoch, back);
        }
    }
    fail("bytes are torn or out of order", position, epoch);
}

/* Frames one peek may take: a frame, or a message of several. */
enum { PEEK_BYTES = FB_MESSAGE_FRAMES_MAX * FB_FRAME_BYTES };

static void check(reader *me, const uint8_t *frame, size_t count, uint64_t word, uint64_t least) {
    uint8_t wanted[PEEK_BYTES];
    uint64_t epoch = (uint64_t)fb_epoch(word);
    if ((epoch - least) % FB_EPOCHS >= FB_EPOCHS / 2) {
        fail("stale: read under an epoch older than a flush that had returned", epoch, least);
    }
    if (epoch != me->epoch) {
        me->position = first_of[epoch];
        me->epoch = epoch;
        me->epochs++;
    }
    fill(wanted, count, me->position, epoch);
    memset(wanted + count, FB_SILENCE, fb_framed(count) - count);
    if (memcmp(wanted, frame, fb_framed(count)) != 0) {
        name_wrong_byte(me->position, epoch, frame, count);
    }
    me->position += count;
    me->reads++;
    me->bytes += count;
}

static void step_back(reader *me) {
    uint64_t wanted = next_random(&me->state) % (2 * retain_bytes);
    uint64_t done = next_random(&me->state) % 2 == 0 ? fb_rewind(&ring, wanted)
                                                     : fb_resume(&ring, wanted);
    if (done > retain_bytes || done > wanted) {
        fail("a rewind went beyond what is retained", done, retain_bytes);
    }
    me->position -= done;
    me->rewinds += done != 0;
}

/* Peek as the bridge does: a frame, or a message of up to three. */
static size_t peek(uint8_t *to, uint64_t dice, int pad, uint64_t *word) {
    size_t frames = 1 + (size_t)(dice >> 32) % FB_MESSAGE_FRAMES_MAX;
    size_t count = frames == 1 ? fb_peek(&ring, to, pad, word)
                               : fb_peek_frames(&ring, to, frames, pad, word);
    if (count > frames * FB_FRAME_BYTES || (!pad && count % FB_FRAME_BYTES != 0)) {
        fail("a peek gave what was not asked for", count, frames);
    }
    return count;
}

static void read_once(reader *me) {
    uint8_t frame[PEEK_BYTES];
    uint64_t least = fb_load_acquire(&flushed_epoch);
    uint64_t dice = next_random(&me->state);
    uint64_t word, head;
    size_t count = peek(frame, dice, dice % 4 == 0, &word);
    if (count == 0) {
        fb_missed(&ring, word);
        if ((word & FB_HOLD) != 0) {
            step_back(me);
            fb_set_hold(&ring, 0);
        } else if (dice % 16 == 1) {
            sched_yield();
        }
    } else if (fb_take(&ring, count, word)) {
        check(me, frame, count, word, least);
    }
    head = fb_load_relaxed(&ring.head);
    if (head < me->head) {
        fail("I6: head fell", head, me->head);
    }
    me->head = head;
    if ((dice >> 8) % 8 == 0) {
        step_back(me);
    }
    if ((dice >> 16) % 4096 == 0) {
        fb_flush(&ring);
        fb_look(&ring);
    }
}

/* With everybody at rest, the books must balance and the last epoch must be read to its end. */
static void settle(reader *me) {
    uint8_t frame[PEEK_BYTES];
    uint64_t word, readable;
    size_t count;
    fb_set_hold(&ring, 0);
    while ((count = peek(frame, next_random(&me->state), 1, &word)) != 0) {
        if (!fb_take(&ring, count, word)) {
            fail("a take failed with nobody else there", count, word);
        }
        check(me, frame, count, word, me->epoch);
    }
    readable = fb_readable(&ring, fb_load_acquire(&ring.tail));
    if (ring.written != accepted || readable != 0) {
        fail("the ring counts other bytes than the producer", ring.written, accepted);
    }
    /* Live: a flush may have come behind the last write, and then its bytes are not owed. */
    if (accepted != 0 && accepted_epoch == (uint64_t)current_epoch() &&
        (me->epoch != accepted_epoch || me->position != accepted)) {
        fail("lost: accepted bytes of a live epoch were never read", me->position, accepted);
    }
    if (ring.written != ring.read - ring.rewound + ring.flushed + readable) {
        fail("I7: written is not read + flushed + readable", ring.written, ring.read);
    }
    fb_ring_end(&ring);
    if (pool.pages_in_use != 0) {
        fail("I11: pages were not returned", pool.pages_in_use, 0);
    }
    fb_pool_end(&pool);
}

static void hang(int signal) {
    static const char text[] = "stress: hang\n";
    (void)signal;
    if (write(2, text, sizeof text - 1) > 0) {
        _exit(4);
    }
    _exit(5);
}

int main(int count, char **words) {
    static reader me;
    uint64_t seeds[2];
    pthread_t producer, flusher;
    int paged;
    if (count != 4) {
        fprintf(stderr, "usage: stress fixed|paged READS SEED\n");
        return 2;
    }
    paged = strcmp(words[1], "paged") == 0;
    reads_wanted = strtoull(words[2], NULL, 10);
    me.state = strtoull(words[3], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
    seeds[0] = me.state * 3 + 1;
    seeds[1] = me.state * 5 + 1;
    limit_bytes = paged ? PAGED_LIMIT : LIMIT;
    retain_bytes = paged ? PAGED_RETAIN : RETAIN;
    if (paged) {
        fb_pool_start(&pool, 16);
    }
    if (!fb_ring_start(&ring, paged ? &pool : NULL, limit_bytes, retain_bytes)) {
        fail("no memory", 0, 0);
    }
    signal(SIGALRM, hang);
    alarm(HANG_S);
    pthread_create(&producer, NULL, produce, &seeds[0]);
    pthread_create(&flusher, NULL, flush_and_hold, &seeds[1]);
    while (me.reads < reads_wanted) {
        read_once(&me);
    }
    fb_store_release(&stop, 1);
    pthread_join(producer, NULL);
    pthread_join(flusher, NULL);
    settle(&me);
    printf("%llu reads, %llu bytes, %llu epochs, %llu rewinds, %llu stale writes, %llu full, "
           "%llu pages\n",
           (unsigned long long)me.reads, (unsigned long long)me.bytes,
           (unsigned long long)me.epochs, (unsigned long long)me.rewinds,
           (unsigned long long)ring.stale_writes, (unsigned long long)ring.full_writes,
           (unsigned long long)pages_most);
    if (me.epochs < 2 || me.rewinds == 0 || ring.stale_writes == 0) {
        fail("the run met no flush, rewind or stale write: it proves nothing", me.epochs,
             me.rewinds);
    }
    return 0;
}
