/* The yardstick of bench/load: the least a bridge can do, in C on epoll, one thread.
 *
 * It re-frames and nothing else: the caller's base64 goes into an append as it came, the AI's
 * deltas into a ring, from there in frames of 20 ms to the carrier, 200 ms ahead of the ear, with
 * the marks fastbridge sends. At `speech_started` it empties the ring, sends `clear`, cancels and
 * truncates; whatever of that answer still comes is dropped by its id. No ledger, no guard, no
 * detector, no metrics, no checks: what fastbridge costs above it is what those cost.
 */
#include "wire.h"
#include <signal.h>

enum { CARRIER, AI, LISTENER };
enum { FRAME_BYTES = 160, RING_BYTES = 1 << 19, PHASES = 4, CALLS_MAX = 4096 };
enum { MARK_BYTES = 480, HEAD_MARK_BYTES = 320, HEAD_BYTES = 3200 };
#define FRAME_NS (20 * NS_PER_MS)

typedef struct {
    Conn carrier, ai;
    bool is_used;
    char stream_sid[72], response[72], item[72];
    bool is_active;   /* the response is being generated */
    uint8_t *ring;
    uint64_t written, read; /* bytes of this call's AI audio, in and out */
    uint64_t talk_bytes, unmarked_bytes, item_began;
    int64_t end_ns;   /* when what was sent will have been played */
    unsigned generation, marks_back, turns;
} Call;

static Call *calls[CALLS_MAX];
static int ai_port, lead_ms = 200, used;
static Conn listener;

static void end_call(Call *call) {
    conn_close(&call->carrier);
    conn_close(&call->ai);
    free(call->ring);
    call->ring = NULL;
    call->is_used = false;
}

static void flush(Call *call, Conn *c) {
    if (c->fd >= 0 && !conn_flush(c)) end_call(call);
}

__attribute__((format(printf, 2, 3))) static void say(Conn *c, const char *form, ...) {
    char text[1024];
    va_list list;
    va_start(list, form);
    int n = vsnprintf(text, sizeof text, form, list);
    va_end(list);
    ws_put(c, OP_TEXT, text, (size_t)n);
}

static void copy(char *to, size_t room, Slice from) {
    size_t n = from.size < room - 1 ? from.size : room - 1;
    if (n) memcpy(to, from.at, n);
    to[n] = 0;
}

/* ------------------------------------------------------------------ to the carrier */

static void send_mark(Call *call) {
    say(&call->carrier, "{\"event\":\"mark\",\"streamSid\":\"%s\",\"mark\":{\"name\":\"g%us%u:%llu\"}}",
        call->stream_sid, call->generation, call->generation, (unsigned long long)call->read);
    call->unmarked_bytes = 0;
}

static void send_frame(Call *call) {
    char text[512];
    uint8_t frame[FRAME_BYTES];
    uint64_t have = call->written - call->read;
    size_t take = have < FRAME_BYTES ? (size_t)have : FRAME_BYTES;
    for (size_t i = 0; i < take; i++) frame[i] = call->ring[(call->read + i) % RING_BYTES];
    memset(frame + take, 0xff, FRAME_BYTES - take);
    call->read += take;
    int n = snprintf(text, sizeof text, "{\"event\":\"media\",\"streamSid\":\"%s\",\"media\":{\"payload\":\"",
                     call->stream_sid);
    n += (int)base64_encode(frame, FRAME_BYTES, text + n);
    memcpy(text + n, "\"}}", 3);
    ws_put(&call->carrier, OP_TEXT, text, (size_t)n + 3);
    call->talk_bytes += FRAME_BYTES;
    call->unmarked_bytes += FRAME_BYTES;
    bool is_end = call->written - call->read < FRAME_BYTES;
    uint64_t spacing = call->talk_bytes <= HEAD_BYTES ? HEAD_MARK_BYTES : MARK_BYTES;
    if (call->unmarked_bytes >= spacing || is_end) send_mark(call);
}

static void pace(Call *call, int64_t now) {
    bool any = false;
    for (;;) {
        uint64_t have = call->written - call->read;
        if (!have || (have < FRAME_BYTES && call->is_active)) break;
        if (call->end_ns < now) {
            call->end_ns = now;
            call->talk_bytes = 0;
        }
        /* A second frame in one beat needs half a frame of room: else the lead sits on an edge,
         * and the smallest jitter of the timer makes pairs and pauses of 40 ms. */
        int64_t room_ns = lead_ms * NS_PER_MS - FRAME_NS - (any ? FRAME_NS / 2 : 0);
        if (call->end_ns - now > room_ns) break;
        send_frame(call);
        call->end_ns += FRAME_NS;
        any = true;
    }
    if (any) flush(call, &call->carrier);
}

/* ------------------------------------------------------------------ the AI's events */

static void interrupt(Call *call, int64_t now) {
    bool is_heard = call->end_ns > now;
    if (!is_heard && call->read == call->written && !call->is_active) return;
    int64_t unheard_ns = is_heard ? call->end_ns - now : 0;
    int64_t heard_ms = (int64_t)(call->read - call->item_began) / 8 - unheard_ns / NS_PER_MS;
    call->read = call->written;
    call->end_ns = 0;
    call->generation++;
    say(&call->carrier, "{\"event\":\"clear\",\"streamSid\":\"%s\"}", call->stream_sid);
    send_mark(call);
    flush(call, &call->carrier);
    if (call->is_active)
        say(&call->ai, "{\"type\":\"response.cancel\",\"event_id\":\"c-1\",\"response_id\":\"%s\"}",
            call->response);
    say(&call->ai,
        "{\"type\":\"conversation.item.truncate\",\"event_id\":\"t-1\",\"item_id\":\"%s\","
        "\"content_index\":0,\"audio_end_ms\":%lld}", call->item,
        (long long)(heard_ms > 0 ? heard_ms : 0));
    call->response[0] = 0;
}

static void take_delta(Call *call, Slice text) {
    Slice id = json_get(text, "response_id"), delta = json_get(text, "delta");
    if (!json_is(id, call->response)) return; /* of an interrupted answer */
    uint8_t bytes[8192];
    if (delta.size > 10000) return;
    size_t n = base64_decode(delta.at, delta.size, bytes);
    if (call->written + n - call->read > RING_BYTES) return;
    for (size_t i = 0; i < n; i++) call->ring[(call->written + i) % RING_BYTES] = bytes[i];
    call->written += n;
    copy(call->item, sizeof call->item, json_get(text, "item_id"));
}

static void take_ai(Call *call, Slice text, int64_t now) {
    Slice type = json_get(text, "type");
    if (json_is(type, "response.output_audio.delta")) {
        take_delta(call, text);
    } else if (json_is(type, "input_audio_buffer.speech_started")) {
        interrupt(call, now);
    } else if (json_is(type, "input_audio_buffer.committed")) {
        say(&call->ai, "{\"type\": \"response.create\", \"event_id\": \"r-%u\", \"response\": "
            "{\"metadata\": {\"turn\": \"%u\"}}}", call->turns, call->turns);
        call->turns++;
    } else if (json_is(type, "response.created")) {
        copy(call->response, sizeof call->response, json_get(json_get(text, "response"), "id"));
        call->is_active = true;
        call->item_began = call->written;
    } else if (json_is(type, "response.done")) {
        Slice id = json_get(json_get(text, "response"), "id");
        if (json_is(id, call->response) || !call->response[0]) call->is_active = false;
    } else if (json_is(type, "session.created")) {
        say(&call->ai,
            "{\"type\":\"session.update\",\"session\":{\"type\":\"realtime\",\"output_modalities\":"
            "[\"audio\"],\"audio\":{\"input\":{\"format\":{\"type\":\"audio/pcmu\"},"
            "\"turn_detection\":{\"type\":\"server_vad\",\"create_response\":false,"
            "\"interrupt_response\":false}},\"output\":{\"format\":{\"type\":\"audio/pcmu\"},"
            "\"voice\":\"marin\"}}}}");
    }
}

/* ------------------------------------------------------------------ the carrier's events */

static void take_carrier(Call *call, Slice text) {
    Slice event = json_get(text, "event");
    if (json_is(event, "media")) {
        Slice payload = json_get(json_get(text, "media"), "payload");
        if (!call->ai.is_open || payload.size > 900) return;
        char out[1024];
        static const char head[] = "{\"type\":\"input_audio_buffer.append\",\"audio\":\"";
        memcpy(out, head, sizeof head - 1);
        memcpy(out + sizeof head - 1, payload.at, payload.size);
        memcpy(out + sizeof head - 1 + payload.size, "\"}", 2);
        ws_put(&call->ai, OP_TEXT, out, sizeof head - 1 + payload.size + 2);
    } else if (json_is(event, "mark")) {
        call->marks_back++;
    } else if (json_is(event, "start")) {
        copy(call->stream_sid, sizeof call->stream_sid, json_get(text, "streamSid"));
        int fd = tcp_connect(ai_port);
        if (fd < 0) die("no AI on port %d", ai_port);
        conn_init(&call->ai, fd, AI, call, true);
        ws_ask(&call->ai, "127.0.0.1", ai_port, "/v1/realtime?model=gpt-realtime");
    } else if (json_is(event, "stop")) {
        end_call(call);
    }
}

/* ------------------------------------------------------------------ connections */

static void take_frames(Call *call, Conn *c) {
    int op = 0, found = 0;
    char *data;
    size_t size;
    while (c->fd >= 0 && (found = ws_next(c, &op, &data, &size)) > 0 && op != OP_CLOSE) {
        if (op == OP_PING) ws_put(c, OP_PONG, data, size);
        if (op != OP_TEXT) continue;
        if (c->kind == CARRIER) take_carrier(call, (Slice){data, size});
        else take_ai(call, (Slice){data, size}, now_ns());
    }
    if (found < 0 || (found > 0 && op == OP_CLOSE)) {
        end_call(call);
        return;
    }
    /* One write a leg for everything that came with this reading. */
    if (call->is_used && call->ai.fd >= 0) flush(call, &call->ai);
    if (call->is_used && call->carrier.out_used) flush(call, &call->carrier);
}

static void take_ready(Conn *c, uint32_t events) {
    Call *call = c->owner;
    if (c->fd < 0) return;
    if (events & EPOLLOUT) flush(call, c);
    if (c->fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    if (!conn_fill(c)) {
        end_call(call);
        return;
    }
    if (!c->is_open) {
        int state = c->kind == AI ? ws_accepted(c) : ws_accept(c);
        if (state < 0) end_call(call);
        if (state <= 0) return;
    }
    take_frames(call, c);
}

static void take_call(void) {
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), slot = 0;
    if (fd < 0) return;
    while (slot < used && calls[slot]->is_used) slot++;
    if (slot >= CALLS_MAX) die("over %d calls", CALLS_MAX);
    if (slot == used) calls[used++] = must(malloc(sizeof(Call)));
    Call *call = calls[slot];
    memset(call, 0, sizeof *call);
    call->ai.fd = -1;
    call->is_used = true;
    call->ring = must(malloc(RING_BYTES));
    conn_init(&call->carrier, fd, CARRIER, call, false);
}

int main(int argc, char **argv) {
    if (argc < 3) die("floor PORT AI_PORT [LEAD_MS]");
    signal(SIGPIPE, SIG_IGN);
    ai_port = atoi(argv[2]);
    if (argc > 3) lead_ms = atoi(argv[3]);
    base64_prepare();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    conn_init(&listener, tcp_listen(atoi(argv[1])), LISTENER, NULL, false);
    struct epoll_event events[256];
    int64_t origin_ns = now_ns(), beat = 0;
    for (;;) {
        int64_t due_ns = origin_ns + (beat + 1) * (FRAME_NS / PHASES);
        int n = wait_until(events, 256, due_ns);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (c->kind == LISTENER) take_call();
            else take_ready(c, events[i].events);
        }
        int64_t now = now_ns();
        if (now < due_ns) continue;
        beat++;
        for (int i = (int)(beat % PHASES); i < used; i += PHASES)
            if (calls[i]->is_used) pace(calls[i], now);
    }
}
