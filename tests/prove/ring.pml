/* The protocol of src/fastbridge/_ring_core.h under sequential consistency, for spin.
 *
 * P writes frames, C reads and rewinds, K flushes and holds; every atomic access of the header is
 * one step here and carries its name in a comment ("at: function access word"), which
 * tests/prove/tie.py compares with the header itself, in the header's order, mutants included.
 * A frame is one cell that holds the epoch it was written under and its number; the copy of a frame
 * is a step of its own, so that it can lie between any two accesses. Positions count frames.
 * What is asserted: no frame of a flushed epoch is read after the flush returned (I3, I4), frames
 * come in order and whole (I2), P never overwrites what C may still read (I6, the cell says so),
 * the ring never holds more than its limit (I1), head never falls, books balance (I7).
 * Memory orders are not modelled: every access is seen at once. tests/prove/explore.c has them.
 */
#ifndef WRITES
#define WRITES 3
#endif
#ifndef READS
#define READS 3
#endif
#ifndef FLUSHES
#define FLUSHES 2
#endif
#define LIMIT 2
#define RETAIN 1
#define CAP 3 /* LIMIT + RETAIN: no byte to spare */

/* tail: one word, so one step changes all of it */
byte epoch, floor, write;
bool hold;
byte head, keep;

/* what lies in memory */
byte cell_epoch[CAP];
byte cell_number[CAP];

/* P's books: frames accepted, and how many there were when P took up an epoch */
byte accepted;
byte first_of[8];
byte done; /* flushes that have returned */
/* C's own; global so that the third thread can be made to move them */
byte position, released, c_floor, c_epoch, flushed, taken, rewound;
byte finished;
#ifdef NO_CAS_PUBLISH
byte p_floor; bool p_hold; /* what P saw of the word it will overwrite */
#endif

inline sync(e, f) {
    if
    :: e != c_epoch ->
        d_step {
            c_floor = f;
            flushed = flushed + (c_floor - position);
            position = c_floor;
            c_epoch = e
        };
        release(c_floor)
    :: else
    fi
}

inline release(at) {
    d_step {
        released = at;
        oldest = (at > RETAIN -> at - RETAIN : 0);
        oldest = (oldest < c_floor -> c_floor : oldest)
    };
    keep = oldest;      /* at: fb_release store keep */
    atomic {
        assert(released >= head);
        head = released /* at: fb_release store head */
    }
}

proctype P() {
    byte n, e, w_epoch, h;
    bool ok;
    e = epoch;
    first_of[e] = accepted;
    for (n : 1 .. WRITES) {
        atomic {                         /* at: fb_reserve load tail */
            w_epoch = epoch;
#ifdef NO_CAS_PUBLISH
            p_floor = floor; p_hold = hold
#endif
        };
        if
        :: w_epoch != e ->
            e = epoch;
            first_of[e] = accepted
        :: else ->
            h = head;                    /* at: fb_reserve load head */
            if
            :: accepted - h >= LIMIT     /* FULL */
            :: else ->
                atomic {
                    cell_epoch[accepted % CAP] = e;
                    cell_number[accepted % CAP] = accepted
                };
#ifdef NO_CAS_PUBLISH
                atomic {
                    epoch = e; floor = p_floor; hold = p_hold; write = accepted + 1;
                    /* at: fb_publish store tail */
                    ok = true
                };
#else
                atomic {                 /* at: fb_publish swap tail */
                    if
                    :: epoch == e -> write = accepted + 1; ok = true
                    :: else -> ok = false
                    fi
                };
#endif
                if
                :: ok ->
                    accepted++;
                    skip                 /* at: fb_publish load head (a statistic) */
                :: else ->
                    e = epoch;
                    first_of[e] = accepted
                fi
            fi
        fi
    }
    finished++
}

proctype K() {
    byte n, oldest;
    for (n : 1 .. FLUSHES) {
        skip;                            /* at: fb_flush load tail */
        atomic {                         /* at: fb_flush swap tail */
            epoch++;
            hold = false;
#ifndef NO_FLOOR
            floor = write
#endif
        };
#ifdef THIRD_THREAD_INDEX_MOVE
        skip;                            /* at: fb_flush calls fb_look */
        sync(epoch, floor);
#endif
        done = n;
        if
        :: skip;                         /* at: fb_set_hold load tail */
           hold = true                   /* at: fb_set_hold swap tail */
        :: skip
        fi
    }
    finished++
}

proctype C() {
    byte n, e, f, w, least, got_epoch, got_number, expected, last_epoch, most, oldest;
    bool held;
    for (n : 1 .. READS) {
        least = done;
        do
        :: atomic { e = epoch; f = floor; w = write; held = hold }; /* at: fb_look load tail */
            sync(e, f);
            if
            :: held || w == position -> break
            :: else ->
                d_step {
                    got_epoch = cell_epoch[position % CAP];
                    got_number = cell_number[position % CAP]
                };
                if                       /* at: fb_still load tail */
                :: epoch == e && hold == held ->
                    taken++;
                    position++;
                    assert(got_epoch >= least && got_epoch >= last_epoch); /* stale */
                    if
                    :: got_epoch != last_epoch ->
                        expected = first_of[got_epoch];
                        last_epoch = got_epoch
                    :: else
                    fi;
                    assert(got_number == expected); /* torn or out of order */
                    expected++;
                    if
                    :: position > released -> release(position)
                    :: else
                    fi;
                    break
                :: else
                fi
            fi
        od;
        if
        :: atomic { e = epoch; f = floor; held = hold }; /* rewind or resume */
            sync(e, f);
#ifdef REWIND_BEYOND_RETAINED
            most = position - c_floor;
#else
            most = position - keep;      /* at: fb_rewindable load keep */
#endif
            d_step {
                assert(most <= RETAIN); /* rewind beyond what is retained */
                position = position - most;
                rewound = rewound + most;
                expected = expected - most;
                most = 0
            };
            if
            :: held ->
                hold = false             /* at: fb_set_hold swap tail */
            :: else
            fi
        :: skip
        fi;
        d_step {
            assert(write - head <= LIMIT); /* I1 */
            e = 0; f = 0; w = 0; held = 0; least = 0; got_epoch = 0; got_number = 0; oldest = 0
        }
    }
    finished++
}

init {
    atomic { run P(); run K(); run C() };
    finished == 3;
    /* obey what is left, then the books balance */
    d_step {
        flushed = flushed + (epoch != c_epoch -> floor - position : 0);
        position = (epoch != c_epoch -> floor : position);
        assert(write == accepted);
        assert(write == taken - rewound + flushed + (write - position)) /* I7 */
    }
}
