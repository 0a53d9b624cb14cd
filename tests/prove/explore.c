/* Every interleaving of a few steps of the real ring, and every value its loads may see.
 *
 * This file compiles the ring's own headers: the compiler's atomic builtins, memcpy and malloc are
 * taken over by macros, so the code and the memory orders that are explored are the shipped ones
 * (with a small frame and page: tests/prove/mutants.py). Three coroutines P, C and K stop before
 * each atomic access to tail, head, keep or done; the search tries each of them in turn, for a load
 * once per value it may return.
 *
 * The memory model is release/acquire by views. A word is the list of all values it ever had; a
 * thread's view holds the oldest entry of each word it may still read, and how much of each other
 * thread has happened before it. A release store puts the storing thread's view beside the value,
 * an acquire load joins it; relaxed ones do not (an acquire fence joins what relaxed loads saw); a
 * swap reads the newest value and passes on the view it found (release sequence), and a failed swap
 * is a load. A copy that is not ordered after the last write of a byte, or that overwrites one not
 * ordered after all its reads, is a race. Not modelled: stores that overtake earlier loads (load
 * buffering, which RC11 forbids as well) and seq_cst, which the ring does not use: it is refused.
 * usage: explore fixed|paged WRITES READS REWIND_AFTER FLUSHES HOLDS
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static uint64_t x_load(const uint64_t *word, int order);
static void x_store(uint64_t *word, uint64_t value, int order);
static int x_swap(uint64_t *word, uint64_t *seen, uint64_t next, int success, int failure);
static void x_fence(int order);
static void x_copy(void *to, const void *from, size_t count);
static void *x_memory(size_t count);

#define __atomic_load_n(word, order) x_load(word, order)
#define __atomic_store_n(word, value, order) x_store(word, value, order)
#define __atomic_compare_exchange_n(word, seen, next, weak, success, failure) \
    x_swap(word, seen, next, success, failure)
#define __atomic_thread_fence(order) x_fence(order)
#define memcpy(to, from, count) x_copy(to, from, count)
#define malloc(count) x_memory(count)
#define calloc(count, size) x_memory((count) * (size))
#define free(memory) ((void)(memory))
#include "_ring_core.h"
#undef memcpy
#undef free
#undef malloc
#undef calloc

enum { P, C, K, THREADS, NOBODY = THREADS };
enum { TAIL, HEAD, KEEP, DONE, WORDS };
enum { NONE, LOAD, STORE, SWAP };
enum { VALUES_MAX = 24, STACK = 12288, HEAP = 512, GRANULE = 8, DEPTH_MAX = 160, TEXT = 200 };
enum { FRAME = FB_FRAME_BYTES, FRAMES_MAX = 16 };

static const char *const thread_names = "PCK";
static const char *const word_names[] = {"tail", "head", "keep", "done"};

typedef struct {
    uint16_t oldest[WORDS];   /* first value of each word this thread may still read */
    uint16_t clock[THREADS];  /* how much of each thread happened before */
    uint16_t unused;
} view;

typedef struct {
    uint64_t value;
    view shown;
} entry;

typedef struct {
    uint64_t count;
    entry of[VALUES_MAX];
} history;

/* Who last wrote 8 bytes of memory, and what each thread last read of them. */
typedef struct {
    uint16_t writer, wrote, read[THREADS], unused[3];
} cell;

typedef struct {
    ucontext_t context;
    view now, pending;
    uint64_t past; /* hash of all this thread has seen: its local state follows from it */
    int kind, word, ended;
    uint64_t expected;
    size_t choice;
} coroutine;

/* All that changes: saved and restored as one block, so that the search can go back. */
static struct {
    fb_ring ring;
    fb_pool pool;
    uint64_t done; /* flushes of K that have returned */
    history words[WORDS];
    cell cells[HEAP / GRANULE];
    coroutine threads[THREADS];
    uint8_t heap[HEAP] __attribute__((aligned(16)));
    size_t heap_used;
    uint64_t accepted;              /* frames; P's own books */
    uint64_t first_of[FRAMES_MAX];  /* accepted when P took up that epoch */
    uint8_t stacks[THREADS][STACK] __attribute__((aligned(16)));
} now;
static char *saved[DEPTH_MAX];
static ucontext_t searching;
static int self = NOBODY;
static char failure[TEXT], line[TEXT];
static char trace[DEPTH_MAX][TEXT];
static int paged, writes, reads, rewind_after, flushes, holds;
static uint64_t states, endings, deepest;

/* ---- threads stop here ---- */

static void stop_thread(void) {
    swapcontext(&now.threads[self].context, &searching);
}

static void fail(const char *what) {
    if (failure[0] == 0) {
        snprintf(failure, sizeof failure, "%s", what);
    }
    if (self != NOBODY) {
        stop_thread();
    }
}

static uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 31;
}

static void join(view *into, const view *other) {
    for (int word = 0; word < WORDS; word++) {
        if (other->oldest[word] > into->oldest[word]) {
            into->oldest[word] = other->oldest[word];
        }
    }
    for (int thread = 0; thread < THREADS; thread++) {
        if (other->clock[thread] > into->clock[thread]) {
            into->clock[thread] = other->clock[thread];
        }
    }
}

static int acquires(int order) {
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL;
}

static int releases(int order) {
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL;
}

static int shared_word(const uint64_t *word) {
    const uint64_t *const shared[] = {&now.ring.tail, &now.ring.head, &now.ring.keep, &now.done};
    for (int each = 0; each < WORDS; each++) {
        if (word == shared[each]) {
            return each;
        }
    }
    return -1;
}

static void check_owner(const uint64_t *word) {
    const fb_ring *ring = &now.ring;
    int of_p = word == &ring->written || word == &ring->high_water || word == &ring->stale_writes
               || word == &ring->stale_bytes || word == &ring->full_writes;
    if (self != (of_p ? P : C)) {
        char text[TEXT];
        snprintf(text, sizeof text, "%c stores to a position or counter that %c owns",
                 thread_names[self], of_p ? 'P' : 'C');
        fail(text);
    }
}

/* ---- what the builtins do ---- */

static void request(int kind, int word, uint64_t expected, int order) {
    coroutine *me = &now.threads[self];
    if (order == __ATOMIC_SEQ_CST || order == __ATOMIC_CONSUME) {
        fail("the explorer knows relaxed, acquire, release and acq_rel only");
    }
    me->kind = kind;
    me->word = word;
    me->expected = expected;
    stop_thread();
    me->kind = NONE;
    me->now.clock[self]++; /* a release shows all copies before it */
}

static uint64_t see(int word, size_t which, int order) {
    coroutine *me = &now.threads[self];
    const entry *seen = &now.words[word].of[which];
    me->now.oldest[word] = (uint16_t)which;
    join(acquires(order) ? &me->now : &me->pending, &seen->shown);
    join(&me->pending, &seen->shown);
    return seen->value;
}

static void append(int word, uint64_t value, int order, const view *carried) {
    coroutine *me = &now.threads[self];
    history *of = &now.words[word];
    entry *added = &of->of[of->count];
    if (of->count + 1 >= VALUES_MAX) {
        fail("the explorer has no room for more values of a word");
    }
    me->now.oldest[word] = (uint16_t)of->count++;
    memset(added, 0, sizeof *added);
    added->value = value;
    added->shown.oldest[word] = me->now.oldest[word];
    if (releases(order)) {
        join(&added->shown, &me->now);
    }
    if (carried != NULL) {
        join(&added->shown, carried);
    }
}

static void note(const char *what, int word, uint64_t value) {
    coroutine *me = &now.threads[self];
    me->past = mix(mix(me->past, value), (uint64_t)(word * 8 + what[0]));
    if (word == TAIL) {
        snprintf(line, sizeof line, "%c %s tail {epoch %d, %sfloor %d, write %d}",
                 thread_names[self], what, fb_epoch(value),
                 (value & FB_HOLD) != 0 ? "held, " : "", (int)fb_floor(value),
                 (int)(value & FB_FIELD));
    } else {
        snprintf(line, sizeof line, "%c %s %s %llu", thread_names[self], what,
                 word_names[word], (unsigned long long)value);
    }
}

static uint64_t x_load(const uint64_t *word, int order) {
    int which = shared_word(word);
    uint64_t value;
    if (self == NOBODY || which < 0) { /* an owner's own word, or an observer's guess */
        return *word;
    }
    request(LOAD, which, 0, order);
    value = see(which, now.threads[self].choice, order);
    note("loads", which, value);
    return value;
}

static void x_store(uint64_t *word, uint64_t value, int order) {
    int which = shared_word(word);
    if (self != NOBODY && which >= 0) {
        request(STORE, which, 0, order);
        append(which, value, order, NULL);
        note("stores", which, value);
    } else if (self != NOBODY) {
        check_owner(word);
    }
    *word = value;
}

static int x_swap(uint64_t *word, uint64_t *seen, uint64_t next, int success, int fails) {
    int which = shared_word(word);
    size_t newest;
    if (self == NOBODY) {
        int equal = *word == *seen;
        *seen = equal ? *seen : *word;
        *word = equal ? next : *word;
        return equal;
    }
    if (which < 0) {
        fail("a swap of a word the explorer does not know");
    }
    request(SWAP, which, *seen, success);
    newest = now.words[which].count - 1;
    if (now.threads[self].choice < newest + 1
        && now.words[which].of[now.threads[self].choice].value != *seen) {
        *seen = see(which, now.threads[self].choice, fails);
        note("fails to swap", which, *seen);
        return 0;
    }
    see(which, newest, success);
    append(which, next, success, &now.words[which].of[newest].shown);
    *word = next;
    note("swaps", which, next);
    return 1;
}

static void x_fence(int order) {
    if (self == NOBODY) {
        return;
    }
    if (order != __ATOMIC_ACQUIRE) {
        fail("the explorer knows acquire fences only");
    }
    join(&now.threads[self].now, &now.threads[self].pending);
}

/* ---- memory ---- */

static void *x_memory(size_t count) {
    void *memory = now.heap + now.heap_used;
    now.heap_used += (count + 15) / 16 * 16;
    return now.heap_used > HEAP ? NULL : memory;
}

static void touch(const void *at, size_t count, int is_write) {
    const uint8_t *from = at;
    const coroutine *me = &now.threads[self];
    if (from < now.heap || from >= now.heap + HEAP) {
        return;
    }
    for (size_t each = (size_t)(from - now.heap) / GRANULE;
         each < ((size_t)(from - now.heap) + count + GRANULE - 1) / GRANULE; each++) {
        cell *the = &now.cells[each];
        if (the->wrote > me->now.clock[the->writer] && the->writer != self) {
            fail(is_write ? "race: two threads write the same bytes"
                          : "race: bytes are read that another thread may still be writing");
        }
        for (int other = 0; is_write && other < THREADS; other++) {
            if (other != self && the->read[other] > me->now.clock[other]) {
                fail("race: bytes are overwritten that another thread may still be reading");
            }
        }
        if (is_write) {
            the->writer = (uint16_t)self;
            the->wrote = (uint16_t)(me->now.clock[self] + 1);
        } else {
            the->read[self] = (uint16_t)(me->now.clock[self] + 1);
        }
    }
}

static void x_copy(void *to, const void *from, size_t count) {
    if (from == NULL) {
        fail("C reads a page that was given back");
    }
    if (self != NOBODY) {
        touch(from, count, 0);
        touch(to, count, 1);
    }
    memmove(to, from, count);
}

/* ---- the three threads ---- */

static void produce(void) {
    int epoch = fb_epoch(fb_load_acquire(&now.ring.tail));
    now.first_of[epoch] = 0;
    for (int each = 0; each < writes; each++) {
        uint64_t frame[FRAME / 8];
        int64_t done;
        for (int at = 0; at < FRAME / 8; at++) {
            frame[at] = (uint64_t)epoch << 32 | now.accepted;
        }
        done = fb_write(&now.ring, (const uint8_t *)frame, FRAME, epoch);
        if (done == FB_STALE) {
            epoch = fb_epoch(fb_load_acquire(&now.ring.tail));
            now.first_of[epoch] = now.accepted;
        } else if (done != FB_FULL) {
            now.accepted++;
        }
    }
}

static void check_frame(const uint64_t *frame, uint64_t *expected, int *epoch, uint64_t least) {
    int found = (int)(frame[0] >> 32);
    for (int at = 1; at < FRAME / 8; at++) {
        if (frame[at] != frame[0]) {
            fail("torn: one frame holds bytes of two writes");
        }
    }
    if ((uint64_t)found < least) {
        fail("stale: bytes of an epoch whose flush had returned");
    }
    if (found < *epoch) {
        fail("stale: bytes of an older epoch than the last read");
    }
    if (found != *epoch) {
        *expected = now.first_of[found];
        *epoch = found;
    }
    if ((uint32_t)frame[0] != *expected) {
        fail("out of order: a frame is missing or comes twice");
    }
    ++*expected;
}

static void consume(void) {
    uint64_t expected = 0;
    int epoch = 0;
    for (int each = 0; each < reads; each++) {
        uint64_t frame[FRAME / 8 + 1];
        uint64_t least = flushes == 0 ? 0 : fb_load_acquire(&now.done);
        uint64_t head = now.ring.head;
        if (fb_read(&now.ring, (uint8_t *)frame, 0) != 0) {
            check_frame(frame, &expected, &epoch, least);
        }
        if (now.ring.head < head) {
            fail("head fell");
        }
        if (each + 1 == rewind_after) {
            uint64_t back = holds != 0 ? fb_resume(&now.ring, 2 * FRAME)
                                       : fb_rewind(&now.ring, 2 * FRAME);
            if (back > now.ring.retain_bytes) {
                fail("a rewind went beyond what is retained");
            }
            expected -= back / FRAME;
        }
    }
}

static void interrupt(void) {
    for (int each = 0; each < holds; each++) {
        fb_set_hold(&now.ring, 1);
    }
    for (int each = 0; each < flushes; each++) {
        fb_flush(&now.ring);
        fb_store_release(&now.done, (uint64_t)each + 1);
    }
}

static void run_thread(int which) {
    (which == P ? produce : which == C ? consume : interrupt)();
    now.threads[which].ended = 1;
    stop_thread();
}

/* ---- the search ---- */

static void resume_thread(int which) {
    self = which;
    swapcontext(&searching, &now.threads[which].context);
    self = NOBODY;
}

static void start(void) {
    memset(&now, 0, sizeof now);
    if (paged) {
        fb_pool_start(&now.pool, 4);
    }
    if (!fb_ring_start(&now.ring, paged ? &now.pool : NULL, FRAME * (paged ? 3 : 1), FRAME)) {
        fail("the explorer's heap is too small");
    }
    for (int word = 0; word < WORDS; word++) {
        now.words[word].count = 1;
    }
    for (int which = 0; which < THREADS; which++) {
        ucontext_t *context = &now.threads[which].context;
        getcontext(context);
        context->uc_stack.ss_sp = now.stacks[which];
        context->uc_stack.ss_size = STACK;
        makecontext(context, (void (*)(void))run_thread, 1, which);
        resume_thread(which);
    }
}

/* Whether a stopped thread may go on with its `choice`th value. */
static int allowed(const coroutine *thread, size_t choice) {
    const history *of = &now.words[thread->word];
    if (thread->ended) {
        return 0;
    }
    if (thread->kind == STORE) {
        return choice == of->count - 1;
    }
    if (thread->kind == SWAP && of->of[choice].value == thread->expected) {
        return choice == of->count - 1; /* a swap that succeeds takes the newest */
    }
    return choice >= thread->now.oldest[thread->word];
}

static uint64_t hash_bytes(uint64_t hash, const void *from, size_t count) {
    const uint64_t *words = from;
    for (size_t at = 0; at < count / 8; at++) {
        hash = mix(hash, words[at]);
    }
    return hash;
}

static uint64_t hash_state(void) {
    uint64_t hash = 1;
    for (int which = 0; which < THREADS; which++) {
        hash = mix(hash, now.threads[which].past);
        hash = hash_bytes(hash, &now.threads[which].now, 2 * sizeof(view));
    }
    for (int word = 0; word < WORDS; word++) {
        hash = hash_bytes(hash, &now.words[word].count, 8 + now.words[word].count * sizeof(entry));
    }
    return hash_bytes(hash, now.cells, sizeof now.cells) | 1;
}

static uint64_t *table;
static uint64_t table_size = 1 << 16;

static void put(uint64_t hash) {
    uint64_t at = hash & (table_size - 1);
    while (table[at] != 0) {
        at = (at + 1) & (table_size - 1);
    }
    table[at] = hash;
}

/* Return 1 when this state is new. */
static int remember(uint64_t hash) {
    for (uint64_t at = hash & (table_size - 1); table[at] != 0; at = (at + 1) & (table_size - 1)) {
        if (table[at] == hash) {
            return 0;
        }
    }
    if (++states * 2 > table_size) {
        uint64_t *old = table;
        uint64_t old_size = table_size;
        table = calloc(table_size *= 2, sizeof *table);
        for (uint64_t at = 0; at < old_size; at++) {
            if (old[at] != 0) {
                put(old[at]);
            }
        }
        free(old);
    }
    put(hash);
    return 1;
}

static void report(int depth) {
    fprintf(stderr, "explore: %s\n", failure);
    for (int step = 0; step < depth; step++) {
        fprintf(stderr, "  %2d %s\n", step + 1, trace[step]);
    }
    exit(3);
}

/* Go on with one thread until it stops again; its step becomes a line of the trace. */
static void step(int which, size_t choice, int depth) {
    now.threads[which].choice = choice;
    resume_thread(which);
    memcpy(trace[depth], line, TEXT);
    if (failure[0] != 0) {
        report(depth + 1);
    }
}

static void check_ending(int depth) {
    const fb_ring *ring = &now.ring;
    uint64_t readable = fb_readable(ring, ring->tail);
    endings++;
    if (ring->written != ring->read - ring->rewound + ring->flushed + readable
                             + ((ring->tail & FB_TAG) == ring->tag
                                    ? 0
                                    : fb_floor(ring->tail) - ring->position)) {
        fail("the books do not balance: written is not read + flushed + readable");
        report(depth);
    }
    if (ring->written != now.accepted * FRAME || ring->written - ring->head > ring->limit_bytes) {
        fail("the ring holds more than its limit, or other bytes than P wrote");
        report(depth);
    }
}

static void explore(int depth) {
    int moved = 0;
    if (!remember(hash_state())) {
        return;
    }
    if (depth + 1 >= DEPTH_MAX) {
        fail("the explorer cannot go deeper: fewer writes, reads or flushes are needed");
        report(depth);
    }
    if (saved[depth] == NULL) {
        saved[depth] = malloc(sizeof now);
    }
    deepest = (uint64_t)depth > deepest ? (uint64_t)depth : deepest;
    memcpy(saved[depth], &now, sizeof now);
    for (int which = 0; which < THREADS; which++) {
        for (size_t choice = 0;; choice++) {
            if (moved) {
                memcpy(&now, saved[depth], sizeof now);
            }
            if (choice == now.words[now.threads[which].word].count) {
                break;
            }
            if (allowed(&now.threads[which], choice)) {
                moved = 1;
                step(which, choice, depth);
                explore(depth + 1);
            }
        }
    }
    if (!moved) {
        check_ending(depth);
    }
}

int main(int count, char **words) {
    if (count != 7) {
        fprintf(stderr, "usage: explore fixed|paged WRITES READS REWIND_AFTER FLUSHES HOLDS\n");
        return 2;
    }
    paged = strcmp(words[1], "paged") == 0;
    writes = atoi(words[2]);
    reads = atoi(words[3]);
    rewind_after = atoi(words[4]);
    flushes = atoi(words[5]);
    holds = atoi(words[6]);
    table = calloc(table_size, sizeof *table);
    start();
    if (failure[0] != 0) {
        report(0);
    }
    explore(0);
    printf("%llu states, %llu endings, %llu steps deep\n", (unsigned long long)states,
           (unsigned long long)endings, (unsigned long long)deepest);
    return 0;
}
