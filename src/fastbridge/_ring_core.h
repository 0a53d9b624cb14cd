/* The hot core of the ring in plain C, so that sanitizers and model checkers can run it alone.
 *
 * One producer P, one consumer C, and anyone K who flushes or holds. They share three words:
 *   tail = {epoch:15 | hold:1 | floor:24 | write:24}, changed by compare-and-swap only:
 *          P moves write, K flushes (epoch + 1, floor := write, hold := 0) or sets hold;
 *   head = highest position C has released, stored by C only, never falls;
 *   keep = lowest position C may still read (history for rewind), stored by C only, never falls.
 * Why nothing stale is ever read: P's publishing swap expects the epoch its bytes belong to, so a
 * flush in between makes it fail and the bytes stay invisible; and one word means that nobody
 * sees the new epoch with the old floor. Why nothing is torn: P overwrites or returns only what
 * lies below keep, and C stores keep only after it has finished copying.
 * Positions count AI bytes only, as 64 bits outside the word: padding never enters the ring.
 * The epoch wraps after 32,768 flushes: a write would have to wait through exactly that many to
 * be taken for a fresh one.
 */
#ifndef FASTBRIDGE_RING_CORE_H
#define FASTBRIDGE_RING_CORE_H

#include <stdlib.h>

#include "_atomics.h"
#include "_base64.h"

/* The one C copy of fastbridge.mulaw's constants; tests/test_ring.py compares them. */
#define FB_FRAME_BYTES 160
#define FB_SILENCE 0xFF
/* Most frames of one message to the carrier: 60 ms. */
#define FB_MESSAGE_FRAMES_MAX 3

#define FB_FULL (-1)
#define FB_STALE (-2)
#define FB_MALFORMED (-3)

#define FB_PAGE_BITS 13
#define FB_PAGE_BYTES ((size_t)1 << FB_PAGE_BITS)
#define FB_ARENA_PAGES 32

/* Positions in the word have 24 bits; half of that keeps every distance unambiguous. */
#define FB_BYTES_MAX ((uint64_t)1 << 23)
#define FB_FIELD ((uint64_t)0xFFFFFF)
#define FB_FLOOR_SHIFT 24
#define FB_HOLD ((uint64_t)1 << 48)
#define FB_EPOCH_SHIFT 49
#define FB_EPOCHS 32768
/* What a flush changes: C compares epoch and floor, so even 32,768 unseen flushes are noticed. */
#define FB_TAG (~(FB_HOLD | FB_FIELD))

FB_INLINE int fb_epoch(uint64_t word) {
    return (int)(word >> FB_EPOCH_SHIFT);
}

FB_INLINE uint64_t fb_floor(uint64_t word) {
    return word >> FB_FLOOR_SHIFT & FB_FIELD;
}

/* ---- pages: OWNER: the producers of one event loop; no atomics, one pool per loop ---- */

typedef struct fb_arena {
    struct fb_arena *next;
} fb_arena;

typedef struct {
    void *free_page; /* free pages are chained through their first bytes */
    fb_arena *arenas;
    uint64_t pages_max, pages_in_use, pages_free, refused;
} fb_pool;

FB_INLINE void fb_pool_start(fb_pool *pool, uint64_t pages_max) {
    memset(pool, 0, sizeof *pool);
    pool->pages_max = pages_max;
}

FB_INLINE void fb_pool_end(fb_pool *pool) {
    while (pool->arenas != NULL) {
        fb_arena *arena = pool->arenas;
        pool->arenas = arena->next;
        free(arena);
    }
}

FB_INLINE void fb_page_give(fb_pool *pool, void *page) {
    memcpy(page, &pool->free_page, sizeof(void *));
    pool->free_page = page;
    pool->pages_free++;
    pool->pages_in_use--;
}

/* Get up to 32 pages from malloc, never past pages_max; return 0 when there are none to get. */
FB_INLINE int fb_pool_grow(fb_pool *pool) {
    uint64_t left = pool->pages_max - pool->pages_in_use - pool->pages_free;
    uint64_t pages = left < FB_ARENA_PAGES ? left : FB_ARENA_PAGES;
    fb_arena *arena = pages == 0 ? NULL : malloc(sizeof(fb_arena) + pages * FB_PAGE_BYTES);
    if (arena == NULL) {
        return 0;
    }
    arena->next = pool->arenas;
    pool->arenas = arena;
    pool->pages_in_use += pages;
    while (pages-- != 0) {
        fb_page_give(pool, (uint8_t *)(arena + 1) + pages * FB_PAGE_BYTES);
    }
    return 1;
}

FB_INLINE uint8_t *fb_page_take(fb_pool *pool) {
    uint8_t *page;
    if (pool->free_page == NULL && !fb_pool_grow(pool)) {
        return NULL;
    }
    page = pool->free_page;
    memcpy(&pool->free_page, page, sizeof(void *));
    pool->pages_free--;
    pool->pages_in_use++;
    return page;
}

/* ---- the ring ---- */

/* Fixed mode is the paged layout with one page: one table slot, page_bits = log2(capacity). */
typedef struct {
    /* set at the start, read by all */
    fb_pool *pool; /* NULL in fixed mode */
    uint8_t **table;
    uint64_t table_mask, limit_bytes, retain_bytes;
    unsigned page_bits;
    char apart_tail[64]; /* P, C and the shared word each on cache lines of their own */
    uint64_t tail;
    char apart_producer[64];
    uint64_t written; /* 64-bit write position; P stores, others look */
    uint64_t page_low, page_high; /* absolute numbers of the pages held: [low, high) */
    uint64_t high_water, stale_writes, stale_bytes, full_writes;
    char apart_consumer[64];
    uint64_t head, keep;
    uint64_t position, released; /* next byte to read; highest byte ever released */
    uint64_t floor, tag;         /* of the last flush C has obeyed */
    uint64_t read, rewound, flushed, underruns;
} fb_ring;

FB_INLINE uint64_t fb_next_power(uint64_t least) {
    uint64_t power = 1;
    while (power < least) {
        power <<= 1;
    }
    return power;
}

/* Return 0 when memory is short. limit + retain must not exceed FB_BYTES_MAX. */
FB_INLINE int fb_ring_start(fb_ring *ring, fb_pool *pool, uint64_t limit, uint64_t retain) {
    uint64_t bytes = fb_next_power(limit + retain);
    uint64_t slots = 1;
    memset(ring, 0, sizeof *ring);
    ring->pool = pool;
    ring->limit_bytes = limit;
    ring->retain_bytes = retain;
    ring->page_bits = FB_PAGE_BITS;
    if (pool != NULL) { /* a span of n bytes touches at most n / page + 2 pages */
        slots = fb_next_power((limit + retain) / FB_PAGE_BYTES + 2);
    } else {
        for (ring->page_bits = 0; (uint64_t)1 << ring->page_bits < bytes; ring->page_bits++) {
        }
    }
    ring->table_mask = slots - 1;
    ring->table = calloc(slots, sizeof(uint8_t *));
    if (ring->table != NULL && pool == NULL) {
        ring->table[0] = malloc(bytes);
    }
    return ring->table != NULL && (pool != NULL || ring->table[0] != NULL);
}

/* Return where absolute position `at` lies, and in `run` how many bytes follow it in one piece. */
FB_INLINE uint8_t *fb_span(const fb_ring *ring, uint64_t at, size_t *run) {
    size_t offset = (size_t)(at & (((uint64_t)1 << ring->page_bits) - 1));
    *run = ((size_t)1 << ring->page_bits) - offset;
    return ring->table[at >> ring->page_bits & ring->table_mask] + offset;
}

/* ---- producer: pages ---- */

FB_INLINE uint8_t **fb_slot(const fb_ring *ring, uint64_t page) {
    return &ring->table[page & ring->table_mask];
}

FB_INLINE void fb_return_page(fb_ring *ring, uint64_t page) {
    fb_page_give(ring->pool, *fb_slot(ring, page));
    *fb_slot(ring, page) = NULL; /* returned once: the slot forgets it */
}

/* Return the pages C can no longer read. OWNER: P. */
FB_INLINE void fb_return_below(fb_ring *ring) {
    /* ORDER: acquire pairs with C's release of keep: C's copies out of these pages are done. */
    uint64_t keep = fb_load_acquire(&ring->keep);
    while (ring->page_low < ring->page_high && (ring->page_low + 1) << FB_PAGE_BITS <= keep) {
        fb_return_page(ring, ring->page_low++);
    }
}

/* Return the pages that hold no published byte (of a refused write). OWNER: P; C never saw them. */
FB_INLINE void fb_return_above(fb_ring *ring) {
    uint64_t end = (ring->written + FB_PAGE_BYTES - 1) >> FB_PAGE_BITS;
    while (ring->page_high > end && ring->page_high > ring->page_low) {
        fb_return_page(ring, --ring->page_high);
    }
}

/* Make sure that pages lie under the next `count` bytes; 0 when the pool has not enough. */
FB_INLINE int fb_take_pages(fb_ring *ring, uint64_t count) {
    uint64_t end = ((ring->written + count - 1) >> FB_PAGE_BITS) + 1;
    fb_pool *pool = ring->pool;
    if (ring->page_low < ring->page_high && end <= ring->page_high) {
        return 1;
    }
    fb_return_below(ring);
    if (ring->page_low == ring->page_high) {
        ring->page_low = ring->page_high = ring->written >> FB_PAGE_BITS;
    }
    if (end - ring->page_high <= pool->pages_max - pool->pages_in_use) {
        while (ring->page_high < end) {
            uint8_t *page = fb_page_take(pool);
            if (page == NULL) { /* malloc refused */
                break;
            }
            *fb_slot(ring, ring->page_high++) = page;
        }
        if (ring->page_high == end) {
            return 1;
        }
        fb_return_above(ring);
    }
    pool->refused++;
    return 0;
}

/* Give back all memory that holds nothing readable; return the number of pages. OWNER: P. */
FB_INLINE uint64_t fb_reclaim(fb_ring *ring) {
    uint64_t held = ring->page_high - ring->page_low;
    if (ring->pool == NULL) {
        return 0;
    }
    fb_return_above(ring);
    fb_return_below(ring);
    /* ORDER: acquire as in fb_return_below. Nothing to read or rewind: the last page goes too. */
    if (fb_load_acquire(&ring->keep) == ring->written) {
        while (ring->page_low < ring->page_high) {
            fb_return_page(ring, ring->page_low++);
        }
    }
    return held - (ring->page_high - ring->page_low);
}

/* ---- producer: bytes ---- */

FB_INLINE int64_t fb_stale(fb_ring *ring, uint64_t count) {
    fb_count(&ring->stale_writes, 1);
    fb_count(&ring->stale_bytes, count);
    if (ring->pool != NULL) {
        fb_return_above(ring);
    }
    return FB_STALE;
}

/* Make room for `count` bytes of `epoch` without showing any: 0, FB_STALE or FB_FULL. OWNER: P. */
FB_INLINE int64_t fb_reserve(fb_ring *ring, uint64_t count, int epoch, uint64_t *word) {
    uint64_t used;
    /* ORDER: acquire, so that a flush seen here is seen with everything before it. */
    *word = fb_load_acquire(&ring->tail);
    if (fb_epoch(*word) != epoch) {
        return fb_stale(ring, count);
    }
    /* ORDER: acquire pairs with C's release of head: C has finished with what is overwritten. */
    used = ring->written - fb_load_acquire(&ring->head);
    if (count > ring->limit_bytes - used
        || (ring->pool != NULL && count != 0 && !fb_take_pages(ring, count))) {
        fb_count(&ring->full_writes, 1);
        return FB_FULL;
    }
    return 0;
}

/* Show `count` reserved and filled bytes, unless a flush came in between. OWNER: P. */
FB_INLINE int64_t fb_publish(fb_ring *ring, uint64_t count, uint64_t word) {
    int epoch = fb_epoch(word);
    uint64_t end = ring->written + count;
    uint64_t used;
    /* ORDER: acq_rel. Release shows the copied bytes and table slots to C's acquire; the swap
     * (not a store) fails when K flushed, and a hold that came in between is kept. */
    while (!fb_swap(&ring->tail, &word, (word & ~FB_FIELD) | (end & FB_FIELD))) {
        if (fb_epoch(word) != epoch) {
            return fb_stale(ring, count);
        }
    }
    /* ORDER: relaxed; only P computes with it, others look at it. */
    fb_store_relaxed(&ring->written, end);
    /* ORDER: relaxed; a statistic. */
    used = end - fb_load_relaxed(&ring->head);
    if (used > ring->high_water) {
        fb_store_relaxed(&ring->high_water, used);
    }
    return (int64_t)count;
}

/* Copy into reserved, unpublished space. OWNER: P. */
FB_INLINE void fb_copy_in(fb_ring *ring, uint64_t at, const uint8_t *from, size_t count) {
    while (count != 0) {
        size_t run;
        uint8_t *to = fb_span(ring, at, &run);
        size_t part = count < run ? count : run;
        memcpy(to, from, part);
        at += part;
        from += part;
        count -= part;
    }
}

/* Write all of `count` bytes or none: count, FB_STALE or FB_FULL. OWNER: P. */
FB_INLINE int64_t fb_write(fb_ring *ring, const uint8_t *from, size_t count, int epoch) {
    uint64_t word;
    int64_t refused = fb_reserve(ring, count, epoch, &word);
    if (refused != 0 || count == 0) {
        return refused;
    }
    fb_copy_in(ring, ring->written, from, count);
    return fb_publish(ring, count, word);
}

/* Decode whole groups into reserved space, across page borders; return FB_BAD bits. OWNER: P. */
FB_INLINE uint32_t fb_decode_in(fb_ring *ring, uint64_t at, const uint8_t *text, size_t groups) {
    uint32_t bad = 0;
    while (groups != 0) {
        size_t run;
        uint8_t *to = fb_span(ring, at, &run);
        size_t part = groups < run / 3 ? groups : run / 3;
        bad |= fb_decode_groups(text, part, to);
        if (part == 0) { /* one group lies across the border */
            uint8_t group[3];
            part = 1;
            bad |= fb_decode_groups(text, part, group);
            fb_copy_in(ring, at, group, 3);
        }
        at += part * 3;
        text += part * 4;
        groups -= part;
    }
    return bad;
}

/* As fb_write, from base64; FB_MALFORMED shows nothing. Refusals come before decoding. OWNER: P. */
FB_INLINE int64_t fb_write_base64(fb_ring *ring, const uint8_t *text, size_t size, int epoch) {
    int64_t count = fb_decoded_bytes(text, size);
    uint64_t word;
    int64_t refused;
    size_t padding, groups;
    uint32_t bad;
    if (count < 0) {
        return FB_MALFORMED;
    }
    refused = fb_reserve(ring, (uint64_t)count, epoch, &word);
    if (refused != 0 || count == 0) {
        return refused;
    }
    padding = fb_padding(text, size);
    groups = size / 4 - (padding != 0);
    bad = fb_decode_in(ring, ring->written, text, groups);
    if (padding != 0) {
        uint8_t last[2];
        bad |= fb_decode_last(text + groups * 4, padding, last);
        fb_copy_in(ring, ring->written + groups * 3, last, 3 - padding);
    }
    if (bad != 0) {
        if (ring->pool != NULL) {
            fb_return_above(ring);
        }
        return FB_MALFORMED;
    }
    return fb_publish(ring, (uint64_t)count, word);
}

/* ---- anyone ---- */

/* Bytes readable under `word`. Exact on C's thread, elsewhere a snapshot. */
FB_INLINE uint64_t fb_readable(const fb_ring *ring, uint64_t word) {
    /* ORDER: relaxed; C's own words when C asks. A flush C has not obeyed yet counts from floor. */
    uint64_t from = (word & FB_TAG) == fb_load_relaxed(&ring->tag)
                        ? fb_load_relaxed(&ring->position)
                        : fb_floor(word);
    return (word - from) & FB_FIELD;
}

/* Make everything unreadable, kill the write in flight, end the hold; return bytes discarded. */
FB_INLINE uint64_t fb_flush(fb_ring *ring) {
    /* OWNER: anyone. ORDER: acquire on load, acq_rel on swap: keeps P's release sequence alive. */
    uint64_t word = fb_load_acquire(&ring->tail);
    uint64_t next;
    do {
        next = (word >> FB_EPOCH_SHIFT) + 1;
        next = next << FB_EPOCH_SHIFT | (word & FB_FIELD) << FB_FLOOR_SHIFT | (word & FB_FIELD);
    } while (!fb_swap(&ring->tail, &word, next));
    return fb_readable(ring, word);
}

/* Set or clear hold; return 1 when that changed it. */
FB_INLINE int fb_set_hold(fb_ring *ring, int held) {
    /* OWNER: anyone holds, C resumes. ORDER: as in fb_flush. */
    uint64_t word = fb_load_acquire(&ring->tail);
    do {
        if (((word & FB_HOLD) != 0) == held) {
            return 0;
        }
    } while (!fb_swap(&ring->tail, &word, word ^ FB_HOLD));
    return 1;
}

/* ---- consumer ---- */

/* Release everything up to `position`. OWNER: C. */
FB_INLINE void fb_release(fb_ring *ring, uint64_t position) {
    uint64_t oldest = position > ring->retain_bytes ? position - ring->retain_bytes : 0;
    ring->released = position;
    if (oldest < ring->floor) {
        oldest = ring->floor;
    }
    /* ORDER: release after C's copies; keep before head, so that P, which loads head first,
     * never sees room whose pages still look needed. */
    fb_store_release(&ring->keep, oldest);
    fb_store_release(&ring->head, position);
}

/* Obey a flush, when `word` shows one: skip to its floor. OWNER: C. */
FB_INLINE void fb_sync(fb_ring *ring, uint64_t word) {
    if ((word & FB_TAG) == ring->tag) {
        return;
    }
    /* released <= floor <= released + limit < 2^24: the distance is unambiguous. */
    ring->floor = ring->released + ((fb_floor(word) - ring->released) & FB_FIELD);
    fb_count(&ring->flushed, ring->floor - ring->position);
    /* ORDER: relaxed; C's own, stored atomically because observers look. */
    fb_store_relaxed(&ring->position, ring->floor);
    fb_store_relaxed(&ring->tag, word & FB_TAG);
    fb_release(ring, ring->floor);
}

/* Load the word and obey it. OWNER: C. */
FB_INLINE uint64_t fb_look(fb_ring *ring) {
    /* ORDER: acquire pairs with P's publishing swap: what the word promises has been written. */
    uint64_t word = fb_load_acquire(&ring->tail);
    fb_sync(ring, word);
    return word;
}

/* Copy out of readable space. OWNER: C. */
FB_INLINE void fb_copy_out(const fb_ring *ring, uint64_t at, uint8_t *to, size_t count) {
    size_t done;
    for (done = 0; done < count;) {
        size_t run;
        const uint8_t *from = fb_span(ring, at + done, &run);
        size_t part = count - done < run ? count - done : run;
        memcpy(to + done, from, part);
        done += part;
    }
}

/* Copy the next frame to `to` (160 bytes) without taking it; return its AI bytes, 0 for none.
 * With `pad` a partial frame is filled up with silence. OWNER: C. */
FB_INLINE size_t fb_peek(fb_ring *ring, uint8_t *to, int pad, uint64_t *word) {
    uint64_t at, available;
    size_t count;
    *word = fb_look(ring);
    at = ring->position;
    available = (*word - at) & FB_FIELD;
    count = available < FB_FRAME_BYTES ? (size_t)available : FB_FRAME_BYTES;
    if ((*word & FB_HOLD) != 0 || (count < FB_FRAME_BYTES && !pad)) {
        return 0;
    }
    fb_copy_out(ring, at, to, count);
    if (count < FB_FRAME_BYTES) {
        memset(to + count, FB_SILENCE, FB_FRAME_BYTES - count);
    }
    return count;
}

/* Return how many bytes the frames have that hold `count` AI bytes. */
FB_INLINE size_t fb_framed(size_t count) {
    return (count + FB_FRAME_BYTES - 1) / FB_FRAME_BYTES * FB_FRAME_BYTES;
}

/* As fb_peek, for as many frames as lie there, at most `frames`: all whole ones, and with `pad` a
 * partial one behind them. `to` has room for all. OWNER: C. */
FB_INLINE size_t fb_peek_frames(fb_ring *ring, uint8_t *to, size_t frames, int pad, uint64_t *word) {
    size_t most = frames * FB_FRAME_BYTES;
    uint64_t at, available;
    size_t count;
    *word = fb_look(ring);
    at = ring->position;
    available = (*word - at) & FB_FIELD;
    count = available < most ? (size_t)available : most;
    if (!pad) {
        count -= count % FB_FRAME_BYTES;
    }
    if ((*word & FB_HOLD) != 0) {
        return 0;
    }
    fb_copy_out(ring, at, to, count);
    memset(to + count, FB_SILENCE, fb_framed(count) - count);
    return count;
}

/* Return 1 while neither flush nor hold came since `word` was loaded. OWNER: C. */
FB_INLINE int fb_still(const fb_ring *ring, uint64_t word) {
    /* ORDER: the fence keeps the copy before this load; acquire for what a retry will read.
     * This makes a frame as fresh as can be; that it is not stale does not depend on it. */
    fb_fence_acquire();
    return ((fb_load_acquire(&ring->tail) ^ word) & ~FB_FIELD) == 0;
}

/* Take `count` peeked bytes, unless flush or hold came since: then 0, and peek again. OWNER: C. */
FB_INLINE int fb_take(fb_ring *ring, size_t count, uint64_t word) {
    uint64_t end = ring->position + count;
    if (!fb_still(ring, word)) {
        return 0;
    }
    /* ORDER: relaxed; C's own, stored atomically because observers look. */
    fb_store_relaxed(&ring->position, end);
    fb_count(&ring->read, count);
    if (end > ring->released) {
        fb_release(ring, end);
    }
    return 1;
}

/* Count a read that found no frame; a held ring is silent on purpose. OWNER: C. */
FB_INLINE void fb_missed(fb_ring *ring, uint64_t word) {
    fb_count(&ring->underruns, (word & FB_HOLD) == 0);
}

/* Peek and take in one. OWNER: C. */
FB_INLINE size_t fb_read(fb_ring *ring, uint8_t *to, int pad) {
    for (;;) {
        uint64_t word;
        size_t count = fb_peek(ring, to, pad, &word);
        if (count == 0) {
            fb_missed(ring, word);
            return 0;
        }
        if (fb_take(ring, count, word)) {
            return count;
        }
    }
}

/* Bytes that can be read again: never across a flush, never more than retained. OWNER: C. */
FB_INLINE uint64_t fb_rewindable(fb_ring *ring) {
    fb_look(ring);
    return ring->position - fb_load_relaxed(&ring->keep); /* ORDER: relaxed; C's own */
}

/* Step back by up to `count` bytes; return how many. Head does not move: it never falls. OWNER: C. */
FB_INLINE uint64_t fb_rewind(fb_ring *ring, uint64_t count) {
    uint64_t most = fb_rewindable(ring);
    count = count < most ? count : most;
    /* ORDER: relaxed; C's own, stored atomically because observers look. */
    fb_store_relaxed(&ring->position, ring->position - count);
    fb_count(&ring->rewound, count);
    return count;
}

/* End a hold and step back; a ring that is not held (any more) stays where it is. OWNER: C. */
FB_INLINE uint64_t fb_resume(fb_ring *ring, uint64_t count) {
    uint64_t done = 0;
    if ((fb_look(ring) & FB_HOLD) != 0) {
        done = fb_rewind(ring, count); /* before the hold ends: the next read starts there */
        fb_set_hold(ring, 0);
    }
    return done;
}

/* Give back all memory; the ring stays, empty and full at once. Both sides must be at rest. */
FB_INLINE void fb_ring_end(fb_ring *ring) {
    if (ring->table == NULL) {
        return;
    }
    fb_flush(ring);
    fb_look(ring);
    fb_reclaim(ring);
    if (ring->pool == NULL) {
        free(ring->table[0]);
    }
    free(ring->table);
    ring->table = NULL;
    ring->limit_bytes = ring->retain_bytes = 0;
}

#endif
