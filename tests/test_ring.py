from __future__ import annotations

import base64
import struct
import sys
import threading
import time
from collections.abc import Callable

import pytest

from fastbridge import mulaw
from fastbridge._ring import FULL, PAGE_BYTES, STALE, MulawRing, PagePool
from ring_samples import FRAME, PREFIX, SUFFIX, accounts_balance, fixed, paged, read_all, sound

WINDOW_BYTES = 150 * FRAME
HISTORY_BYTES = 50 * FRAME
MakeRing = Callable[[], MulawRing]


@pytest.fixture(params=[fixed, paged], ids=["fixed", "paged"])
def ring(request: pytest.FixtureRequest) -> MulawRing:
    """Give each test a new ring of both modes."""
    make: MakeRing = request.param
    return make()


# ---- the invariants, one by one ----


def test_ring_never_holds_more_than_its_window(ring: MulawRing) -> None:
    """I1: 0 <= write - highest read <= limit, and the window fill never passes 150."""
    limit = ring.writable_bytes
    while ring.write(sound(999), 0) == 999:
        assert ring.readable_bytes + ring.writable_bytes == limit
        assert ring.window_frames_filled <= 150
    assert ring.readable_bytes <= limit
    assert ring.window_frames_filled == 150
    assert ring.unplayed_frames == -(-ring.readable_bytes // FRAME)


def test_fixed_ring_takes_exactly_150_frames() -> None:
    """I1: in fixed mode frame 150 fits and the next byte does not."""
    ring = fixed()
    assert ring.write(sound(WINDOW_BYTES), 0) == WINDOW_BYTES
    assert ring.write(b"x", 0) == FULL
    assert ring.high_water_bytes == WINDOW_BYTES


def test_paged_ring_holds_window_and_backlog_apart() -> None:
    """I1: the window shows at most 150 frames, the unclamped count shows the backlog too."""
    ring = paged()
    assert ring.write(sound(450 * FRAME), 0) == 450 * FRAME
    assert (ring.window_frames_filled, ring.unplayed_frames) == (150, 450)
    assert ring.write(b"x", 0) == FULL
    assert read_all(ring) == sound(450 * FRAME)


@pytest.mark.parametrize("size", [1, 3, 159, 160, 161, 1600, 3201, 8191, 8193])
def test_bytes_leave_in_order_whatever_the_delta_size(ring: MulawRing, size: int) -> None:
    """I2: frames are whole and in order, each once, also when no delta is a multiple of 160."""
    sent = sound(60_000)
    heard = b""
    for start in range(0, len(sent), size):
        delta = sent[start : start + size]
        if ring.writable_bytes < size:
            while (frame := ring.read_frame()) is not None:
                heard += frame
        assert ring.write_base64(base64.b64encode(delta), 0) == len(delta)
    assert heard + read_all(ring) == sent


def test_nothing_of_an_old_epoch_is_read_after_a_flush(ring: MulawRing) -> None:
    """I3: no read that starts after flush() returned yields a byte written before it."""
    ring.write(b"a" * 5000, 0)
    ring.read_frame()
    assert ring.flush() == 5000 - FRAME
    assert ring.read_frame(pad=True) is None
    assert ring.peek_frame() is None
    assert ring.rewind(5000) == 0
    assert ring.read_position == ring.write_position == 5000
    ring.write(b"b" * FRAME, ring.begin())
    assert ring.read_frame() == b"b" * FRAME


def test_flush_without_sync_hides_everything_at_once(ring: MulawRing) -> None:
    """I3: a flush by another thread works from the next read on; only its space comes later."""
    limit = ring.writable_bytes
    ring.write(b"a" * 5000, 0)
    assert ring.flush(sync=False) == 5000
    assert (ring.readable_bytes, ring.flushed_bytes, ring.writable_bytes) == (0, 5000, limit - 5000)
    assert ring.flush(sync=False) == 0
    ring.write(b"b" * FRAME, 2)
    assert ring.flush(sync=False) == FRAME
    ring.write(b"c" * FRAME, 3)
    assert ring.read_frame() == b"c" * FRAME
    assert ring.flushed_bytes == 5000 + FRAME
    assert ring.writable_bytes == limit
    assert accounts_balance(ring)


def test_write_of_an_ended_epoch_is_refused(ring: MulawRing) -> None:
    """I4: what was begun before a flush never becomes readable, however late it comes."""
    epoch = ring.begin()
    ring.flush()
    assert ring.write(b"late" * 40, epoch) == STALE
    assert ring.write_base64("bGF0ZQ==", epoch) == STALE
    assert ring.write(b"", epoch) == STALE
    assert ring.readable_bytes == 0
    assert (ring.stale_writes, ring.stale_bytes, ring.full_writes) == (3, 164, 0)


def test_begin_moves_nothing(ring: MulawRing) -> None:
    """Responses that were not interrupted share an epoch: only a flush ends it."""
    assert ring.begin() == ring.begin() == ring.epoch == 0
    ring.write(b"one" * 100, ring.begin())
    ring.write(b"two" * 100, ring.begin())
    assert read_all(ring) == b"one" * 100 + b"two" * 100


def test_flush_does_not_walk_what_it_discards() -> None:
    """I5: a flush touches one word: pages stay booked until the producer returns them later."""
    pool = PagePool(bytes_max=1 << 22)
    ring = MulawRing(pool=pool, backlog_frames_max=12_000)
    ring.write(bytes(1_000_000), 0)
    pages = pool.pages_in_use
    assert ring.flush() == 1_000_000
    assert pool.pages_in_use == pages == 123
    assert ring.reclaim() == 123
    assert pool.pages_in_use == 0


def test_rewind_reaches_history_and_no_further(ring: MulawRing) -> None:
    """I6: the last second that was read stays intact and can be read again."""
    sent = sound(24_000)
    ring.write(sent, 0)
    heard = b"".join(ring.read_frame() or b"" for _ in range(100))
    assert heard == sent[:16_000]
    assert ring.rewindable == HISTORY_BYTES
    room = ring.writable_bytes
    assert ring.rewind(1 << 20) == HISTORY_BYTES
    assert ring.writable_bytes == room
    assert ring.rewind(1) == 0
    assert ring.read_position == 8_000
    assert ring.write(sound(room), 0) == room  # a full ring does not overwrite history
    assert read_all(ring) == sent[8_000:] + sound(room)
    assert ring.rewound_bytes == HISTORY_BYTES
    assert accounts_balance(ring)


def test_rewind_never_crosses_a_flush(ring: MulawRing) -> None:
    """I6: after a flush only what was read since can be read again."""
    ring.write(sound(1600), 0)
    read_all(ring)
    ring.flush()
    ring.write(b"n" * 320, 1)
    assert ring.read_frame() == b"n" * FRAME
    assert ring.rewindable == FRAME
    assert ring.rewind(1600) == FRAME
    assert read_all(ring) == b"n" * 320


def test_accounts_balance_through_rewind_and_flush(ring: MulawRing) -> None:
    """I7: written = (read - rewound) + flushed + readable; rewound bytes may be flushed."""
    ring.write(sound(3200), 0)
    for _ in range(5):
        ring.read_frame()
    ring.rewind(320)
    assert accounts_balance(ring)
    assert ring.flush(sync=False) == 3200 - 800 + 320
    assert accounts_balance(ring)
    assert ring.read_frame() is None
    assert accounts_balance(ring)
    assert (ring.read_bytes, ring.rewound_bytes, ring.flushed_bytes) == (800, 320, 2720)


def test_full_ring_refuses_and_counts(ring: MulawRing) -> None:
    """I8: a delta that does not fit whole is refused whole: nothing overwritten, no waiting."""
    room = ring.writable_bytes
    sent = sound(room - 100)
    ring.write(sent, 0)
    assert ring.write(sound(101), 0) == FULL
    assert ring.write_base64(base64.b64encode(sound(101)), 0) == FULL
    assert ring.write(sound(100), 0) == 100
    assert ring.full_writes == 2
    assert read_all(ring) == sent + sound(100)


def test_fixed_ring_allocates_nothing_after_construction() -> None:
    """I9: write, read_frame_into, hold, resume, rewind and flush leave no block behind."""
    ring = fixed()
    buffer, delta, epoch = bytearray(FRAME), sound(1600), 0

    def work() -> None:
        ring.write(delta, epoch)
        for _ in range(10):
            ring.read_frame_into(buffer)
        ring.hold()
        ring.resume(320)
        ring.read_frame_into(buffer)

    work()
    before = sys.getallocatedblocks()
    for _ in range(200):
        work()
    assert sys.getallocatedblocks() - before <= 2  # the loop's own iterator and number


def test_idle_ring_is_small() -> None:
    """I10: a paged call that fell silent holds its struct, a page table and its history."""
    pool = PagePool(bytes_max=1 << 24)
    ring = MulawRing(pool=pool, backlog_frames_max=12_000)
    assert pool.pages_in_use == 0
    ring.write(sound(160), 0)
    assert pool.pages_in_use == 1
    table_bytes = 256 * 8  # 12,200 frames lie on at most 240 pages
    assert sys.getsizeof(ring) + table_bytes <= 2560
    ring.write(sound(1_000_000), 0)
    read_all(ring)
    ring.reclaim()
    assert pool.pages_in_use * PAGE_BYTES <= HISTORY_BYTES + 2 * PAGE_BYTES - 1
    assert pool.pages_in_use == 2  # 8,000 bytes of history across a page border
    ring.flush()
    ring.reclaim()
    assert pool.pages_in_use == 0


def test_rings_of_one_pool_never_share_a_page() -> None:
    """I11: a ring never reads or returns another call's page, through takes, returns and drops."""
    pool = PagePool(bytes_max=96 * PAGE_BYTES)
    rings = [MulawRing(pool=pool, backlog_frames_max=300) for _ in range(6)]
    sent = [bytearray() for _ in rings]
    heard = [bytearray() for _ in rings]
    for turn in range(400):
        index = turn * 5 % len(rings)
        ring, delta = rings[index], sound(turn * 37 % 4000, seed=index * 40)
        if ring.write(delta, ring.epoch) == len(delta):
            sent[index] += delta
        for _ in range(turn % 23):
            heard[index] += ring.read_frame() or b""
        if turn % 50 == 49:
            heard[index] += read_all(ring)
            ring.flush()
            ring.reclaim()
    for ring, out, back in zip(rings, sent, heard, strict=True):
        assert bytes(back) + read_all(ring) == bytes(out)
    assert pool.pages_in_use <= 96
    del ring
    rings.clear()
    assert pool.pages_in_use == 0


# ---- all or nothing, padding, messages ----


def test_partial_frame_stays_until_it_is_padded(ring: MulawRing) -> None:
    """Padding is the reader's: it fills the last frame with 0xFF and counts AI bytes only."""
    ring.write(b"x" * 200, 0)
    assert ring.read_frame() == b"x" * FRAME
    assert ring.read_frame() is None
    assert ring.peek_frame() is None
    assert ring.underruns == 1
    assert ring.read_frame(pad=True) == b"x" * 40 + bytes([mulaw.SILENCE]) * 120
    assert ring.read_position == ring.read_bytes == 200
    assert ring.read_frame(pad=True) is None
    assert ring.underruns == 2
    assert ring.rewind(40) == 40
    assert ring.read_frame_into(bytearray(FRAME), pad=True)
    assert ring.read_position == 200


def test_held_ring_is_silent_and_goes_on(ring: MulawRing) -> None:
    """Hold is reversible: nothing is read, nothing lost, and resume steps back as far as asked."""
    sent = sound(3200)
    ring.set_template(PREFIX, SUFFIX)
    ring.write(sent[:1600], 0)
    for _ in range(5):
        ring.read_frame()
    assert ring.hold()
    assert not ring.hold()
    assert ring.is_held
    assert ring.write(sent[1600:], 0) == 1600  # the AI may go on
    assert ring.read_frame() is None
    assert ring.next_message(pad=True) is None
    assert ring.peek_frame() is None
    assert not ring.read_frame_into(bytearray(FRAME))
    assert ring.underruns == 0
    assert ring.resume(480) == 480
    assert not ring.is_held
    assert read_all(ring) == sent[320:]


def test_flush_ends_a_hold_and_resume_then_does_nothing(ring: MulawRing) -> None:
    """A hold that became a commit cannot be taken back."""
    ring.write(sound(1600), 0)
    ring.read_frame()
    ring.hold()
    ring.flush()
    assert not ring.is_held
    ring.write(b"n" * 320, 1)
    assert ring.read_frame() == b"n" * FRAME
    assert ring.resume(320) == 0
    assert ring.read_position == 1600 + FRAME


def test_next_message_is_template_around_base64(ring: MulawRing) -> None:
    """A message is exactly prefix + base64 of the frame + suffix, padded where asked."""
    with pytest.raises(RuntimeError, match="set_template"):
        ring.next_message()
    ring.set_template(PREFIX, SUFFIX)
    ring.write(sound(400), 0)
    for frame in (sound(400)[:160], sound(400)[160:320]):
        assert ring.next_message() == PREFIX + base64.b64encode(frame) + SUFFIX
    assert ring.next_message() is None
    padded = sound(400)[320:] + b"\xff" * 80
    assert ring.next_message(pad=True) == PREFIX + base64.b64encode(padded) + SUFFIX
    ring.set_template(b"", b"")
    ring.rewind(160)
    assert ring.next_message() == base64.b64encode(sound(400)[240:])


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_a_message_takes_up_to_so_many_frames_and_waits_for_none(
    ring: MulawRing, frames: int
) -> None:
    """What lies there leaves in one piece of base64, as whole frames; only the end is padded."""
    size = frames * FRAME
    ring.set_template(PREFIX, SUFFIX)
    ring.set_message_frames(frames)
    assert ring.message_frames == frames
    for whole in range(1, frames + 1):
        data = sound(whole * FRAME + 40, whole)
        ring.write(data, 0)
        message = PREFIX + base64.b64encode(data[: whole * FRAME]) + SUFFIX
        assert ring.next_message() == message, "the whole frames, without waiting for more"
        assert ring.next_message() is None, "a partial frame is for the end only"
        assert (ring.readable_bytes, ring.rewind(whole * FRAME)) == (40, whole * FRAME)
        padded = data.ljust((whole + 1) * FRAME, b"\xff")
        first, rest = padded[:size], padded[size:]
        assert ring.next_message(pad=True) == PREFIX + base64.b64encode(first) + SUFFIX
        if rest:
            assert ring.next_message(pad=True) == PREFIX + base64.b64encode(rest) + SUFFIX
        assert ring.next_message(pad=True) is None
        assert accounts_balance(ring)
    assert ring.read_bytes - ring.rewound_bytes == ring.write_position


def test_a_long_message_is_held_flushed_and_rewound_as_a_short_one(ring: MulawRing) -> None:
    """A hold stops it, a rewind of any length lands inside it, a flush leaves nothing of it."""
    data = sound(2000)
    ring.set_template(b"", b"")
    ring.set_message_frames(3)
    ring.write(data, 0)
    assert ring.next_message() == base64.b64encode(data[:480])
    assert ring.hold()
    assert ring.next_message(pad=True) is None
    assert ring.underruns == 0
    assert ring.resume(333) == 333
    assert ring.next_message() == base64.b64encode(data[147:627])
    assert ring.flush() == 2000 - 627
    assert ring.next_message(pad=True) is None
    ring.write(b"n" * 200, 1)
    assert ring.rewind(480) == 0
    assert ring.next_message(pad=True) == base64.b64encode(b"n" * 200 + b"\xff" * 120)


def test_malformed_base64_publishes_nothing(ring: MulawRing) -> None:
    """A bad character at the end of a long delta leaves ring, positions and pages as they were."""
    ring.write(b"ok" * 50, 0)
    text = base64.b64encode(sound(9000)).decode()
    for bad in (text[:-1] + "!", "é" + text[1:], text[:-1], text[:-3] + "===", "\udc80AAA"):
        with pytest.raises(ValueError, match="delta is not standard base64"):
            ring.write_base64(bad, 0)
    assert (ring.write_position, ring.stale_writes, ring.full_writes) == (100, 0, 0)
    assert read_all(ring) == b"ok" * 50


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_takes_any_buffer(ring: MulawRing, kind: Callable[[bytes], bytes]) -> None:
    """bytes, bytearray and memoryview are written alike, and nothing stays exported."""
    data = kind(sound(500))
    assert ring.write(data, 0) == 500
    assert read_all(ring) == sound(500)


# ---- pages ----


def test_pool_limit_refuses_whole_writes() -> None:
    """A write that needs more pages than are left is FULL, counted twice, and takes none."""
    pool = PagePool(bytes_max=3 * PAGE_BYTES + 8191)
    one, two = (MulawRing(pool=pool, backlog_frames_max=300) for _ in range(2))
    assert one.write(bytes(2 * PAGE_BYTES), 0) == 2 * PAGE_BYTES
    assert two.write(bytes(PAGE_BYTES + 1), 0) == FULL
    assert (pool.pages_in_use, pool.pages_free, pool.refused, two.full_writes) == (2, 1, 1, 1)
    assert two.write(bytes(PAGE_BYTES), 0) == PAGE_BYTES
    assert two.write(b"x", 0) == FULL
    one.close()
    assert two.write(b"x", 0) == 1
    assert pool.bytes_max == 3 * PAGE_BYTES + 8191


def test_malformed_delta_keeps_no_page() -> None:
    """Pages taken for a delta that proves bad go back at once."""
    pool = PagePool(bytes_max=64 * PAGE_BYTES)
    ring = MulawRing(pool=pool)
    ring.write(bytes(100), 0)
    with pytest.raises(ValueError, match="base64"):
        ring.write_base64("A" * 24_000 + "AA!A", 0)
    assert pool.pages_in_use == 1


def test_writes_return_played_pages_by_themselves() -> None:
    """Memory follows what lies in the ring, not what ever went through it."""
    pool = PagePool(bytes_max=64 * PAGE_BYTES)
    ring = MulawRing(pool=pool, backlog_frames_max=300)
    for _ in range(200):
        assert ring.write(sound(3200), 0) == 3200
        read_all(ring)
        assert pool.pages_in_use <= 3
    assert pool.pages_free + pool.pages_in_use <= 32


def test_dropped_and_closed_rings_return_their_pages() -> None:
    """A page is returned once, by close() or by the ring's end; closing twice does nothing."""
    pool = PagePool(bytes_max=64 * PAGE_BYTES)
    ring, other = (MulawRing(pool=pool, backlog_frames_max=300) for _ in range(2))
    ring.write(bytes(50_000), 0)
    other.write(bytes(50_000), 0)
    assert pool.pages_in_use == 14
    ring.close()
    ring.close()
    assert pool.pages_in_use == 7
    del other
    assert pool.pages_in_use == 0


def test_closed_ring_is_empty_and_refuses(ring: MulawRing) -> None:
    """After close nothing is read and nothing accepted, and what was in it counts as flushed."""
    ring.write(sound(1000), 0)
    ring.close()
    assert ring.read_frame(pad=True) is None
    assert ring.write(b"x", 0) == STALE
    assert ring.write(b"x", ring.begin()) == FULL
    assert (ring.rewindable, ring.resume(5), ring.reclaim(), ring.flush()) == (0, 0, 0, 0)
    assert (ring.flushed_bytes, ring.writable_bytes) == (1000, 0)
    assert accounts_balance(ring)


def test_ring_keeps_its_pool_alive() -> None:
    """A pool that only a ring refers to stays until that ring is gone."""
    ring = MulawRing(pool=PagePool(bytes_max=PAGE_BYTES))
    ring.write(sound(8000), 0)
    assert read_all(ring) == sound(8000)


# ---- the fields of the word wrap ----


def test_positions_pass_24_bits(ring: MulawRing) -> None:
    """Positions are 64-bit: 16 MiB of audio and more go through without a seam."""
    delta = sound(16_000)
    for _ in range((1 << 24) // 16_000 + 30):
        assert ring.write(delta, 0) == 16_000
        assert read_all(ring) == delta
    assert ring.read_position == ring.write_position > 1 << 24
    assert ring.rewindable == HISTORY_BYTES
    ring.rewind(16_000)
    assert read_all(ring) == delta[-HISTORY_BYTES:]
    assert accounts_balance(ring)


def test_flush_works_when_the_last_one_is_24_bits_away(ring: MulawRing) -> None:
    """The floor in the word is 24 bits of an old position; only a new flush makes it count."""
    delta = sound(16_000)
    ring.flush()
    for _ in range((1 << 24) // 16_000 + 2):
        ring.write(delta, 1)
        read_all(ring)
    ring.write(delta, 1)
    assert ring.flush(sync=False) == 16_000
    assert ring.read_frame(pad=True) is None
    assert ring.read_position == ring.write_position
    assert ring.rewindable == 0


def test_epoch_wraps_at_15_bits(ring: MulawRing) -> None:
    """After 32,768 flushes the epoch is 0 again and everything still works."""
    for expected in range(32_768):
        assert ring.begin() == expected
        ring.flush()
    assert ring.begin() == 0
    assert ring.write(sound(160), 32_767) == STALE
    assert ring.write(sound(160), 0) == 160
    assert ring.read_frame() == sound(160)


def test_consumer_notices_32768_flushes_at_once(ring: MulawRing) -> None:
    """Epoch and floor are compared: a full turn of the epoch unseen does not revive old bytes."""
    ring.write(sound(320), 0)
    for _ in range(32_768):
        ring.flush(sync=False)
    ring.write(b"n" * 160, 0)
    assert ring.read_frame() == b"n" * 160
    assert accounts_balance(ring)


# ---- threads ----


def flush_often(ring: MulawRing, flushed_to: list[int], stop: threading.Event) -> None:
    """Flush and count; every other time there is something to throw away."""
    while flushed_to[0] < 20_000 and not stop.wait(0):  # fewer than the epoch has numbers
        if flushed_to[0] % 2 == 0 or ring.readable_bytes:
            ring.flush(sync=False)
            flushed_to[0] += 1
        else:
            time.sleep(0)


def test_flush_from_another_thread_lets_nothing_stale_through(ring: MulawRing) -> None:
    """I3, I4: one thread writes, one reads, one flushes; no frame is torn or stale or repeated."""
    frames = struct.Struct(">HxxI")  # epoch, sequence number; 20 times in a frame
    flushed_to, faults = [0], []
    stop = threading.Event()

    def write() -> None:
        sequence = 0
        while not stop.is_set():
            epoch = ring.begin()
            delta = b"".join(frames.pack(epoch, sequence + i) * 20 for i in range(3))
            if ring.write(delta, epoch) > 0:
                sequence += 3

    def read() -> None:
        last, found, tries = -1, 0, 0
        while (found < 3000 or flushed_to[0] < 100) and tries < 2_000_000:
            tries += 1
            least = flushed_to[0]
            frame = ring.read_frame()
            if frame is None:
                time.sleep(0)  # where threads share one processor the writer needs it
                continue
            found += 1
            epoch, sequence = frames.unpack_from(frame)
            if frame != frame[:8] * 20 or epoch < least or sequence <= last:
                faults.append((epoch, least, sequence, last))
            last = sequence
        stop.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    flusher = threading.Thread(target=flush_often, args=(ring, flushed_to, stop))
    threads = [threading.Thread(target=write), flusher, threading.Thread(target=read)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert faults == []
    assert ring.read_bytes >= 3000 * FRAME
    assert ring.flushed_bytes > 0
    assert accounts_balance(ring)
