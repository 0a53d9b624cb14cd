/* The load of bench/load: one process plays the carrier and the AI of N calls to one bridge.
 *
 * Carrier side: Twilio's Media Streams dialect, 50 frames a second, an ear that plays 8 kHz, echoes
 * marks and obeys `clear`. AI side: OpenAI's Realtime dialect, answers of 4, 8 and 4 s in deltas of
 * 200 ms at ten times real time; the caller interrupts 3 s into the second and 0.2 s into the
 * third, each time for 0.9 s. Audio carries its answer's number, so what is stale is counted at the
 * ear and not believed. Prints one line of JSON. `generator --help` lists what can be set.
 */
#include "wire.h"
#include "ear.h"
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>

enum { CARRIER, AI, LISTENER };
enum { FRAME_BYTES = 160, FRAME_CHARS = 216, FRAME_MS = 20, SLOTS = 20 };
enum { DELTA_MS = 200, DELTA_BYTES = 1600, BLOCKS = 64 };
enum { SENT_KEPT = 256, SAMPLES = 4096 };
enum { ECHO_KEPT = 1 << 14, ECHO_DELAY_BYTES = 640 }; /* 2 s of what the ear plays; 80 ms */
#define FRAME_NS (FRAME_MS * NS_PER_MS)

static struct {
    int port, ai_port, calls, pid;
    double seconds, warmup_s, rss_every_s;
    const char *path, *mode, *caller_file, *voice_file, *cert, *key;
    int answer_ms[CLASSES], speed, late_deltas, into_ms[CLASSES], speech_ms, silence_ms, think_ms;
    bool does_echo, is_verbose;
} options = {
    .calls = 1, .seconds = 10.7, .warmup_s = 5, .path = "/media-stream", .mode = "talk",
    .answer_ms = {4000, 8000, 4000}, .speed = 10, .late_deltas = 4, .into_ms = {0, 3000, 200},
    .speech_ms = 900, .silence_ms = 500, .think_ms = 33,
};

/* What the AI side of a call is doing. */
enum Stage { RESTING, LISTENING, WANTED, ANSWERING };

typedef struct {
    Conn carrier, ai;
    int number;
    bool is_ready, is_over;
    char stream_sid[40];
    /* the caller */
    uint32_t frames;
    int64_t sent_ns[SENT_KEPT];
    int speech_frame, speech_left; /* frames of the interruption still to be said */
    uint32_t speech_end;           /* number of its last frame; 0: not said yet */
    /* what arrives at the carrier */
    Ear ear;
    uint8_t *echo; /* what the ear plays, by play time; 0xff where nothing was */
    int64_t last_media_ns, first_media_ns;
    uint8_t last_class;
    uint64_t answer_bytes; /* of the current answer, arrived */
    /* the AI's session */
    bool does_create, does_interrupt, is_pcm;
    uint64_t appended_bytes, appended_frames;
    enum Stage stage;
    int64_t start_ns, stop_due_ns, answer_due_ns, deadline_ns;
    int coming; /* class of the answer that comes next, or is being given */
    uint32_t turns, answers;
    char turn_meta[128];
    /* the answer being given */
    bool is_active, is_cancelled;
    int deltas_left, block;
    int64_t created_ns, delta_due_ns;
    uint64_t answer_total;
    /* the interruption being judged */
    int old_class; /* -1: none since the current answer began */
    int64_t barge_ns, cleared_ns, heard_old_ns;
    uint64_t old_after_clear;
} Line;

static struct {
    Spread gap, in, clear, clear_guarded, heard, heard_guarded, late;
    uint64_t frames_in, appends, media, marks, clears, barge_ins, cycles, deltas, late_deltas;
    uint64_t stale_bytes, stale_barge_ins, missed_clears, underruns, short_answers, lost_turns;
    uint64_t mute_answers, answers, cancels, truncates, deletes, errors, lost_calls, unasked_clears, shifted;
    int64_t underrun_ns;
} tally;

static Line *lines;
static Conn listener;
static bool is_measuring, is_finished;
static int in_setup, ready_calls;
static int64_t go_ns, setup_deadline_ns, window_ns = INT64_MAX;
static char quiet_frame[FRAME_CHARS + 1], (*speech_frames)[FRAME_CHARS + 1];
static int speech_count, voice_blocks;
static char *delta_text[CLASSES][BLOCKS], *delta_pcm[CLASSES];
static uint8_t *voice_bytes;
#ifdef WITH_TLS
static SSL_CTX *tls_context;
#endif

/* ------------------------------------------------------------------ audio */

static uint8_t *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) die("%s: %s", path, strerror(errno));
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = must(malloc(*size + 1));
    if (fread(data, 1, *size, file) != *size) die("%s: unreadable", path);
    fclose(file);
    return data;
}

static uint8_t mulaw_of(int sample) {
    int sign = sample < 0 ? 0x80 : 0, exponent = 7;
    int size = (sample < 0 ? -sample : sample) + 132;
    if (size > 32767) size = 32767;
    for (int bit = 0x4000; exponent > 0 && !(size & bit); bit >>= 1) exponent--;
    return (uint8_t)~(sign | exponent << 4 | (size >> (exponent + 3) & 15));
}

/* Speech-like sound where no recording is given: a buzz of 120 Hz with syllables of 4 Hz. */
static uint8_t *make_speech(size_t size) {
    uint8_t *data = must(malloc(size));
    for (size_t i = 0; i < size; i++) {
        double t = (double)i / 8000, loud = .5 - .5 * cos(2 * M_PI * 4 * t), value = 0;
        for (int h = 1; h < 24; h++)
            value += sin(2 * M_PI * 120 * h * t) / (1 + fabs(120. * h - 600) / 200);
        data[i] = mulaw_of((int)(1800 * loud * value));
    }
    return data;
}

/* The first two bytes of a caller frame are its number, too quiet to be heard. */
static void stamp_frame(char *text, uint32_t number) {
    uint8_t three[3] = {(uint8_t)(0xf0 | (number >> 4 & 15)), (uint8_t)(0xf0 | (number & 15)), 0xff};
    char four[5];
    base64_encode(three, 3, four);
    memcpy(text, four, 4);
}

/* Three levels for sessions in PCM: the answer's number must survive a resampler. */
static const int PCM_LEVELS[CLASSES] = {1200, 4200, 13000};

static void prepare_audio(void) {
    uint8_t frame[FRAME_BYTES];
    for (int i = 0; i < FRAME_BYTES; i++) frame[i] = i % 2 ? 0xff : 0x7f;
    base64_encode(frame, FRAME_BYTES, quiet_frame);
    size_t size = 8000;
    uint8_t *speech = options.caller_file ? read_file(options.caller_file, &size) : make_speech(size);
    speech_count = (int)(size / FRAME_BYTES);
    if (!speech_count) die("the caller's speech is shorter than a frame");
    speech_frames = must(calloc((size_t)speech_count, sizeof *speech_frames));
    for (int i = 0; i < speech_count; i++)
        base64_encode(speech + i * FRAME_BYTES, FRAME_BYTES, speech_frames[i]);
    size = 16000;
    voice_bytes = options.voice_file ? read_file(options.voice_file, &size) : make_speech(size);
    voice_blocks = (int)(size / DELTA_BYTES);
    if (voice_blocks > BLOCKS) voice_blocks = BLOCKS;
    if (!voice_blocks) die("the AI's voice is shorter than 200 ms");
    for (int class = 0; class < CLASSES; class++) {
        for (int block = 0; block < voice_blocks; block++) {
            uint8_t bytes[DELTA_BYTES];
            /* The two lowest bits are the answer's number: hardly audible, and on every byte. */
            for (int i = 0; i < DELTA_BYTES; i++)
                bytes[i] = (uint8_t)((voice_bytes[block * DELTA_BYTES + i] & 0xfc) | class);
            delta_text[class][block] = must(malloc(DELTA_BYTES * 2));
            base64_encode(bytes, DELTA_BYTES, delta_text[class][block]);
        }
        static int16_t pcm[DELTA_BYTES * 3];
        for (int i = 0; i < DELTA_BYTES * 3; i++) pcm[i] = (int16_t)PCM_LEVELS[class];
        delta_pcm[class] = must(malloc(sizeof pcm * 2));
        base64_encode((uint8_t *)pcm, sizeof pcm, delta_pcm[class]);
    }
}

static uint8_t class_of(const Line *line, uint8_t byte) {
    if (!line->is_pcm) return byte & 3;
    if (byte < 0x80) return SILENCE;
    int exponent = ~byte >> 4 & 7, level = (((~byte & 15) << 3 | 0x84) << exponent) - 132;
    return level < 600 ? SILENCE : level < 2400 ? 0 : level < 8000 ? 1 : 2;
}

/* ------------------------------------------------------------------ to the bridge */

static void flush_or_lose(Line *line, Conn *c);

static void send_text(Conn *c, const char *text, size_t size) { ws_put(c, OP_TEXT, text, size); }

__attribute__((format(printf, 2, 3))) static void send_format(Conn *c, const char *form, ...) {
    char text[4096];
    va_list list;
    va_start(list, form);
    int n = vsnprintf(text, sizeof text, form, list);
    va_end(list);
    if (n < 0 || (size_t)n >= sizeof text) die("an event of over %zu bytes", sizeof text);
    send_text(c, text, (size_t)n);
}

static void send_start(Line *line) {
    snprintf(line->stream_sid, sizeof line->stream_sid, "MZ%032x", line->number + 1);
    send_format(&line->carrier, "{\"event\":\"connected\",\"protocol\":\"Call\",\"version\":\"1.0.0\"}");
    send_format(&line->carrier,
                "{\"event\":\"start\",\"sequenceNumber\":\"1\",\"start\":{\"accountSid\":"
                "\"AC00000000000000000000000000000000\",\"streamSid\":\"%s\",\"callSid\":"
                "\"CA%032x\",\"tracks\":[\"inbound\"],\"mediaFormat\":{\"encoding\":"
                "\"audio/x-mulaw\",\"sampleRate\":8000,\"channels\":1},\"customParameters\":{}},"
                "\"streamSid\":\"%s\"}", line->stream_sid, line->number + 1, line->stream_sid);
    flush_or_lose(line, &line->carrier);
}

/* Keep what the ear will play from a time on, for --echo. */
static void keep_echo(Line *line, Slice payload, int64_t at_ns) {
    uint8_t bytes[ECHO_KEPT];
    if (base64_bytes(payload.at, payload.size) > sizeof bytes) return;
    size_t n = base64_decode(payload.at, payload.size, bytes);
    int64_t from = (line->ear.end_ns > at_ns ? line->ear.end_ns : at_ns) / NS_PER_BYTE;
    for (size_t i = 0; i < n; i++) line->echo[(from + (int64_t)i) % ECHO_KEPT] = bytes[i];
}

/* What the ear played 80 ms ago, two segments (12 dB) quieter, as the caller's next frame. */
static void take_echo(Line *line, char *text, int64_t now) {
    uint8_t frame[FRAME_BYTES];
    int64_t from = now / NS_PER_BYTE - ECHO_DELAY_BYTES - FRAME_BYTES;
    for (int i = 0; i < FRAME_BYTES; i++) {
        uint8_t *heard = &line->echo[(from + i) % ECHO_KEPT], flipped = (uint8_t)~*heard;
        int segment = flipped >> 4 & 7;
        frame[i] = (uint8_t)~((flipped & 0x80) | (segment > 2 ? segment - 2 : 0) << 4 |
                              (segment > 2 ? flipped & 15 : (flipped & 15) >> 2));
        *heard = 0xff;
    }
    base64_encode(frame, FRAME_BYTES, text);
}

static void caller_tick(Line *line, int64_t now) {
    char text[512];
    uint32_t number = ++line->frames;
    int n = snprintf(text, sizeof text,
                     "{\"event\":\"media\",\"sequenceNumber\":\"%u\",\"media\":{\"track\":\"inbound\","
                     "\"chunk\":\"%u\",\"timestamp\":\"%u\",\"payload\":\"", number + 1, number,
                     (number - 1) * FRAME_MS);
    bool speaks = line->speech_left > 0;
    if (speaks && !--line->speech_left) line->speech_end = number;
    memcpy(text + n, speaks ? speech_frames[line->speech_frame++ % speech_count] : quiet_frame,
           FRAME_CHARS);
    if (line->echo && !speaks) take_echo(line, text + n, now);
    stamp_frame(text + n, number);
    n += FRAME_CHARS;
    n += snprintf(text + n, sizeof text - (size_t)n, "\"},\"streamSid\":\"%s\"}", line->stream_sid);
    send_text(&line->carrier, text, (size_t)n);
    line->sent_ns[number % SENT_KEPT] = now_ns();
    tally.frames_in += is_measuring;
    flush_or_lose(line, &line->carrier);
}

static void send_mark(Line *line, const char *name) {
    send_format(&line->carrier,
                "{\"event\":\"mark\",\"sequenceNumber\":\"%u\",\"streamSid\":\"%s\",\"mark\":"
                "{\"name\":\"%s\"}}", line->frames + 1, line->stream_sid, name);
}

/* Forget what was played, echo the marks that are due. */
static void ear_tick(Line *line, int64_t now) {
    Piece *piece;
    bool any = false;
    while ((piece = ear_head(&line->ear)) && piece->end_ns <= now) {
        if (piece->kind == MARK) {
            send_mark(line, piece->name);
            any = true;
        } else if (piece->kind == line->old_class) {
            line->heard_old_ns += ear_overlap(piece, line->barge_ns, now);
        }
        line->ear.from++;
    }
    if (any) flush_or_lose(line, &line->carrier);
}

/* ------------------------------------------------------------------ interruptions */

/* Book what the latest interruption did; called before the next one, and at the end. */
static void close_barge_in(Line *line) {
    if (line->old_class < 0) return;
    if (is_measuring && line->barge_ns >= window_ns) {
        bool is_guarded = line->old_class == 2;
        if (line->cleared_ns) {
            spread_add(is_guarded ? &tally.clear_guarded : &tally.clear,
                       line->cleared_ns - line->barge_ns);
        } else {
            tally.missed_clears++;
        }
        spread_add(is_guarded ? &tally.heard_guarded : &tally.heard, line->heard_old_ns);
        tally.barge_ins++;
        tally.stale_bytes += line->old_after_clear;
        tally.stale_barge_ins += line->old_after_clear > 0;
    }
    line->old_class = -1;
}

static void take_clear(Line *line, int64_t now) {
    Piece *piece;
    ear_tick(line, now);
    while ((piece = ear_head(&line->ear))) {
        if (piece->kind == MARK) send_mark(line, piece->name);
        else if (piece->kind == line->old_class)
            line->heard_old_ns += ear_overlap(piece, line->barge_ns, now);
        line->ear.from++;
    }
    line->ear.end_ns = 0;
    line->last_media_ns = 0;
    if (line->echo) {
        int64_t from = now / NS_PER_BYTE;
        for (int i = 0; i < ECHO_KEPT / 2; i++) line->echo[(from + i) % ECHO_KEPT] = 0xff;
    }
    tally.clears += is_measuring;
    if (line->old_class < 0) tally.unasked_clears += is_measuring;
    else if (!line->cleared_ns) line->cleared_ns = now;
    flush_or_lose(line, &line->carrier);
}

static void take_piece(Line *line, uint8_t class, size_t bytes, int64_t now) {
    if (class == line->old_class && line->cleared_ns) line->old_after_clear += bytes;
    bool is_current = class == line->coming && line->stage == ANSWERING && line->old_class != class;
    bool goes_on = is_current && line->answer_bytes > 0;
    int64_t end_before = line->ear.end_ns, idle_ns = ear_play(&line->ear, class, bytes, now);
    if (!is_current) return;
    if (!line->first_media_ns) line->first_media_ns = now;
    if (goes_on && end_before && idle_ns > 0 && is_measuring) {
        tally.underruns++;
        tally.underrun_ns += idle_ns;
    }
    line->answer_bytes += bytes;
}

static void take_media(Line *line, Slice payload, int64_t now) {
    size_t bytes = base64_bytes(payload.at, payload.size);
    if (!bytes) return;
    uint8_t ends[8];
    base64_decode(payload.at, 4, ends);
    base64_decode(payload.at + payload.size - 4, 4, ends + 3);
    uint8_t class = class_of(line, ends[0]);
    if (line->echo) keep_echo(line, payload, now);
    size_t last = base64_bytes(payload.at + payload.size - 4, 4);
    if (is_measuring) {
        tally.media++;
        if (line->last_media_ns && line->last_class == class && class < CLASSES)
            spread_add(&tally.gap, now - line->last_media_ns);
    }
    line->last_media_ns = now;
    line->last_class = class;
    if (class == class_of(line, ends[2 + last])) {
        take_piece(line, class, bytes, now);
        return;
    }
    /* Two answers, or padding, in one message: piece by piece. */
    uint8_t *all = must(malloc(payload.size));
    base64_decode(payload.at, payload.size, all);
    for (size_t from = 0, to; from < bytes; from = to) {
        class = class_of(line, all[from]);
        for (to = from + 1; to < bytes && class_of(line, all[to]) == class; to++) continue;
        take_piece(line, class, to - from, now);
    }
    line->last_class = class;
    free(all);
}

static void take_carrier(Line *line, Slice text, int64_t now) {
    Slice event = json_get(text, "event");
    if (json_is(event, "media")) {
        take_media(line, json_get(json_get(text, "media"), "payload"), now);
    } else if (json_is(event, "mark")) {
        tally.marks += is_measuring;
        ear_mark(&line->ear, json_get(json_get(text, "mark"), "name"), now);
        ear_tick(line, now);
    } else if (json_is(event, "clear")) {
        take_clear(line, now);
    } else {
        die("the bridge sent the carrier: %.*s", (int)(text.size < 200 ? text.size : 200), text.at);
    }
}

#include "ai_side.h"

/* ------------------------------------------------------------------ connections */

static void lose(Line *line) {
    if (line->is_over) return;
    line->is_over = true;
    if (!is_finished) {
        tally.lost_calls++;
        fprintf(stderr, "call %d was lost\n", line->number);
    }
    conn_close(&line->carrier);
    conn_close(&line->ai);
}

static void flush_or_lose(Line *line, Conn *c) {
    if (c->fd >= 0 && !conn_flush(c)) lose(line);
}

static void take_frames(Line *line, Conn *c) {
    int op, found;
    char *data;
    size_t size;
    while (c->fd >= 0 && (found = ws_next(c, &op, &data, &size))) {
        if (found < 0 || op == OP_CLOSE) {
            lose(line);
            return;
        }
        if (op == OP_PING) ws_put(c, OP_PONG, data, size);
        if (op != OP_TEXT && op != OP_BINARY) continue;
        Slice text = {data, size};
        if (c->kind == CARRIER) take_carrier(line, text, now_ns());
        else take_ai(line, text, now_ns());
    }
    flush_or_lose(line, c);
}

static void take_ready(Conn *c, uint32_t events) {
    Line *line = c->owner;
    if (c->fd < 0) return;
    if (events & EPOLLOUT) flush_or_lose(line, c);
    if (c->fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR))) return;
    if (!conn_fill(c)) {
        lose(line);
        return;
    }
    if (!c->is_open) {
        int state = c->kind == CARRIER ? ws_accepted(c) : ws_accept(c);
        if (state < 0) lose(line);
        if (state <= 0) return;
        if (c->kind == CARRIER) send_start(line);
        else greet_client(line);
    }
    take_frames(line, c);
}

static void open_call(void) {
    Line *line = &lines[in_setup];
    int fd = tcp_connect(options.port);
    if (fd < 0) die("no bridge on port %d", options.port);
    line->number = in_setup;
    line->ai.fd = -1;
    line->old_class = -1;
    line->does_create = line->does_interrupt = true;
    if (options.does_echo) line->echo = memset(must(malloc(ECHO_KEPT)), 0xff, ECHO_KEPT);
    conn_init(&line->carrier, fd, CARRIER, line, true);
    ws_ask(&line->carrier, "127.0.0.1", options.port, options.path);
    setup_deadline_ns = now_ns() + 30000 * NS_PER_MS;
    flush_or_lose(line, &line->carrier);
}

/* Calls are opened one after the other, so the AI's next client belongs to the call being opened. */
static void take_client(void) {
    int fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (in_setup >= options.calls || lines[in_setup].ai.fd >= 0) {
        close(fd); /* a reconnect, or a client that is no call's */
        return;
    }
    Line *line = &lines[in_setup];
    conn_init(&line->ai, fd, AI, line, false);
#ifdef WITH_TLS
    if (tls_context) {
        line->ai.tls = SSL_new(tls_context);
        SSL_set_fd(line->ai.tls, fd);
        SSL_set_accept_state(line->ai.tls);
        SSL_set_mode(line->ai.tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
#endif
}

/* ------------------------------------------------------------------ the bridge's process */

static double process_cpu_s, process_rss_kib;

static void look_at_process(void) {
    char path[64], text[1024];
    long pages = 0;
    unsigned long user = 0, kernel = 0;
    if (!options.pid) return;
    snprintf(path, sizeof path, "/proc/%d/stat", options.pid);
    FILE *file = fopen(path, "r");
    if (!file) die("process %d is gone", options.pid);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = 0;
    char *behind = strrchr(text, ')');
    if (!behind || sscanf(behind + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                          &kernel) != 2)
        die("%s: unreadable", path);
    process_cpu_s = (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof path, "/proc/%d/statm", options.pid);
    file = fopen(path, "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) die("%s: unreadable", path);
    fclose(file);
    process_rss_kib = (double)pages * (double)sysconf(_SC_PAGESIZE) / 1024;
}

static double own_cpu_s(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* ------------------------------------------------------------------ the run */

static struct {
    int64_t began_ns, ended_ns;
    double cpu_s, own_s, rss_before, rss_tenth, rss_ready, rss_end;
    double unplayed_ms, unplayed_least_ms;
    double sample_s[SAMPLES], sample_kib[SAMPLES];
    int samples;
} run;

static void begin_window(int64_t now) {
    look_at_process();
    run.began_ns = window_ns = now;
    run.cpu_s = process_cpu_s;
    run.own_s = own_cpu_s();
    memset(&tally.gap, 0, sizeof tally - offsetof(__typeof__(tally), gap));
    is_measuring = true;
}

static void look_at_unplayed(void);

static void end_window(int64_t now) {
    look_at_process();
    look_at_unplayed();
    for (int i = 0; i < options.calls; i++)
        if (lines[i].stop_due_ns < now || lines[i].stage != LISTENING) close_barge_in(&lines[i]);
    run.ended_ns = now;
    run.cpu_s = process_cpu_s - run.cpu_s;
    run.own_s = own_cpu_s() - run.own_s;
    run.rss_end = process_rss_kib;
    is_measuring = false;
    is_finished = true;
}

static void print_results(void) {
    FILE *out = stdout;
    double window_s = (double)(run.ended_ns - run.began_ns) / 1e9, call_s = window_s * options.calls;
    double late_p99 = spread_ms(&tally.late, .99);
    fprintf(out, "{\"calls\":%d,\"window_s\":%.3f,\"mode\":\"%s\",", options.calls, window_s,
            options.mode);
    if (options.pid)
        fprintf(out,
                "\"cpu_ms_per_call_s\":%.4f,\"cpu_percent\":%.2f,\"rss_before_kib\":%.0f,"
                "\"rss_tenth_kib\":%.0f,\"rss_ready_kib\":%.0f,\"rss_end_kib\":%.0f,"
                "\"rss_per_call_kib\":%.1f,",
                run.cpu_s * 1000 / call_s, run.cpu_s * 100 / window_s, run.rss_before,
                run.rss_tenth, run.rss_ready, run.rss_end,
                (run.rss_ready - run.rss_tenth) / fmax(1, options.calls - options.calls / 10));
    fprintf(out, "\"own_cpu_ms_per_call_s\":%.4f,\"own_cpu_percent\":%.2f,",
            run.own_s * 1000 / call_s, run.own_s * 100 / window_s);
    spread_print(out, "gap", &tally.gap);
    spread_print(out, "in", &tally.in);
    spread_print(out, "clear", &tally.clear);
    spread_print(out, "clear_guarded", &tally.clear_guarded);
    spread_print(out, "heard", &tally.heard);
    spread_print(out, "heard_guarded", &tally.heard_guarded);
    spread_print(out, "own_lateness", &tally.late);
#define NUMBER(name) fprintf(out, "\"" #name "\":%llu,", (unsigned long long)tally.name)
    NUMBER(frames_in), NUMBER(appends), NUMBER(media), NUMBER(marks), NUMBER(clears);
    NUMBER(unasked_clears), NUMBER(barge_ins), NUMBER(missed_clears), NUMBER(stale_bytes);
    NUMBER(stale_barge_ins), NUMBER(underruns), NUMBER(answers), NUMBER(short_answers);
    NUMBER(mute_answers), NUMBER(lost_turns), NUMBER(lost_calls), NUMBER(cycles), NUMBER(deltas);
    NUMBER(late_deltas), NUMBER(cancels), NUMBER(truncates), NUMBER(deletes), NUMBER(errors);
    NUMBER(shifted);
    fprintf(out, "\"underrun_ms\":%.1f,\"underrun_ms_per_call_s\":%.4f,",
            (double)tally.underrun_ns / 1e6, (double)tally.underrun_ns / 1e6 / call_s);
    fprintf(out, "\"unplayed_ms\":%.0f,\"unplayed_least_ms\":%.0f,", run.unplayed_ms,
            run.unplayed_least_ms);
    fprintf(out, "\"rss_samples\":[");
    for (int i = 0; i < run.samples; i++)
        fprintf(out, "%s[%.1f,%.0f]", i ? "," : "", run.sample_s[i], run.sample_kib[i]);
    fprintf(out, "],\"is_valid\":%s}\n", late_p99 <= 7 ? "true" : "false");
}

/* Of the answers being given: how much was sent to the bridge and has not come to the carrier. */
static void look_at_unplayed(void) {
    double sum_ms = 0, least_ms = 0;
    int count = 0;
    for (int i = 0; i < options.calls; i++) {
        const Line *line = &lines[i];
        if (line->is_over || line->stage != ANSWERING) continue;
        double ms = ((double)line->block * DELTA_BYTES - (double)line->answer_bytes) / 8;
        if (!count++ || ms < least_ms) least_ms = ms;
        sum_ms += ms;
    }
    run.unplayed_ms = count ? sum_ms / count : 0;
    run.unplayed_least_ms = least_ms;
}

static void sample_rss(int64_t now) {
    static int64_t next_ns;
    if (options.rss_every_s <= 0 || now < next_ns || run.samples >= SAMPLES) return;
    next_ns = now + (int64_t)(options.rss_every_s * 1e9);
    look_at_process();
    run.sample_s[run.samples] = (double)(now - run.began_ns) / 1e9;
    run.sample_kib[run.samples++] = process_rss_kib;
}

/* Every millisecond one slot of the 20 ms grid: the calls' phases are spread evenly. */
static void run_slot(int64_t slot, int64_t now) {
    int phase = (int)(slot % SLOTS), other = (phase + SLOTS / 2) % SLOTS;
    for (int i = 0; i < options.calls; i++) {
        Line *line = &lines[i];
        if (!line->is_ready || line->is_over) continue;
        ear_tick(line, now);
        if (i % SLOTS == phase && !line->is_over) caller_tick(line, now);
        if (i % SLOTS == other && !line->is_over) ai_tick(line, now);
    }
}

/* Everything is set up: spread the calls over a cycle and let them talk. */
static void let_talk(int64_t now) {
    bool is_fill = !strcmp(options.mode, "fill");
    double cycle_ms = options.answer_ms[0] + 600 + options.into_ms[1] + options.into_ms[2] +
                      2. * (options.speech_ms + options.silence_ms) + 3. * options.think_ms;
    go_ns = now;
    for (int i = 0; i < options.calls; i++) {
        /* Each third of the calls begins with another answer: the load is even at once. */
        double spread_ms = is_fill ? 500 : cycle_ms / CLASSES;
        lines[i].start_ns = now + (int64_t)(spread_ms * i / options.calls * NS_PER_MS);
        lines[i].coming = is_fill ? 0 : i % CLASSES;
        if (!strcmp(options.mode, "idle")) lines[i].start_ns = INT64_MAX;
    }
}

static void go_on_setting_up(int64_t now) {
    if (in_setup >= options.calls) return;
    if (lines[in_setup].is_over) die("call %d of %d was refused", in_setup + 1, options.calls);
    if (lines[in_setup].is_ready) {
        ready_calls++;
        if (ready_calls == options.calls / 10) {
            look_at_process();
            run.rss_tenth = process_rss_kib;
        }
        if (++in_setup < options.calls) {
            open_call();
        } else {
            look_at_process();
            run.rss_ready = process_rss_kib;
            let_talk(now);
        }
    } else if (now > setup_deadline_ns) {
        die("call %d of %d: %s", in_setup + 1, options.calls,
            lines[in_setup].ai.fd < 0 ? "the bridge did not connect to the AI within 30 s"
                                      : "the bridge set up no AI session within 30 s");
    }
}

static void play(void) {
    struct epoll_event events[256];
    int64_t origin_ns = now_ns(), slot = 0;
    look_at_process();
    run.rss_before = process_rss_kib;
    open_call();
    while (!is_finished) {
        int64_t due_ns = origin_ns + (slot + 1) * NS_PER_MS;
        int n = wait_until(events, 256, due_ns);
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (c->kind == LISTENER) take_client();
            else take_ready(c, events[i].events);
        }
        int64_t now = now_ns();
        if (now < due_ns) {
            go_on_setting_up(now);
            continue;
        }
        if (is_measuring) spread_add(&tally.late, now - due_ns);
        run_slot(++slot, now);
        go_on_setting_up(now);
        if (!go_ns) continue;
        if (!is_measuring && now >= go_ns + (int64_t)(options.warmup_s * 1e9)) begin_window(now);
        if (is_measuring) sample_rss(now);
        if (is_measuring && now >= run.began_ns + (int64_t)(options.seconds * 1e9)) end_window(now);
    }
}

static void hang_up_all(void) {
    for (int i = 0; i < options.calls; i++) {
        Line *line = &lines[i];
        if (line->is_over) continue;
        send_format(&line->carrier, "{\"event\":\"stop\",\"sequenceNumber\":\"%u\",\"streamSid\":\"%s\","
                    "\"stop\":{\"accountSid\":\"AC\",\"callSid\":\"CA\"}}", line->frames + 2,
                    line->stream_sid);
        flush_or_lose(line, &line->carrier);
    }
    /* A bridge that is told a call is over must not find the AI gone first. */
    int64_t until_ns = now_ns() + 2000 * NS_PER_MS;
    struct epoll_event events[256];
    while (now_ns() < until_ns) {
        int n = wait_until(events, 256, now_ns() + 20 * NS_PER_MS), open = 0;
        for (int i = 0; i < n; i++) {
            Conn *c = events[i].data.ptr;
            if (c->kind != LISTENER) take_ready(c, events[i].events);
        }
        for (int i = 0; i < options.calls; i++) open += !lines[i].is_over;
        if (!open) break;
    }
}

static const struct option LONG[] = {
    {"port", 1, 0, 'p'}, {"ai-port", 1, 0, 'a'}, {"calls", 1, 0, 'n'}, {"seconds", 1, 0, 's'},
    {"warmup", 1, 0, 'w'}, {"pid", 1, 0, 'P'}, {"path", 1, 0, 'u'}, {"mode", 1, 0, 'm'},
    {"caller", 1, 0, 'c'}, {"voice", 1, 0, 'v'}, {"first-ms", 1, 0, '1'}, {"second-ms", 1, 0, '2'},
    {"third-ms", 1, 0, '3'}, {"second-into-ms", 1, 0, 'x'}, {"third-into-ms", 1, 0, 't'}, {"late-deltas", 1, 0, 'l'},
    {"speech-ms", 1, 0, 'S'}, {"echo", 0, 0, 'e'}, {"cert", 1, 0, 'C'},
    {"key", 1, 0, 'K'}, {"rss-every", 1, 0, 'r'}, {"verbose", 0, 0, 'V'}, {"help", 0, 0, 'h'}, {0}};

static void print_help(void) {
    puts("generator --port BRIDGE --ai-port OWN --calls N [--seconds S] [--warmup S] [--pid BRIDGE]\n"
         "  --path /media-stream   the bridge's WebSocket\n"
         "  --mode talk|idle|fill  the whole cycle; only caller frames; one answer, never interrupted\n"
         "  --caller, --voice FILE raw mu-law: what callers say over the AI, what the AI says\n"
         "  --first-ms, --second-ms, --third-ms N   lengths of the three answers\n"
         "  --second-into-ms, --third-into-ms N     where the caller speaks over them (3000, 200)\n"
         "  --speech-ms N          how long the caller speaks over the AI (900)\n"
         "  --late-deltas N        deltas that still come after a cancel, 20 ms apart (4)\n"
         "  --echo                 the caller's audio holds what the ear plays, 12 dB weaker\n"
         "  --cert, --key FILE     speak TLS on the AI's port (built with TLS only)\n"
         "  --rss-every S          sample the bridge's memory");
}

static void read_options(int argc, char **argv) {
    int ch;
    while ((ch = getopt_long(argc, argv, "", LONG, NULL)) >= 0) {
        switch (ch) {
        case 'p': options.port = atoi(optarg); break;
        case 'a': options.ai_port = atoi(optarg); break;
        case 'n': options.calls = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 'w': options.warmup_s = atof(optarg); break;
        case 'P': options.pid = atoi(optarg); break;
        case 'u': options.path = optarg; break;
        case 'm': options.mode = optarg; break;
        case 'c': options.caller_file = optarg; break;
        case 'v': options.voice_file = optarg; break;
        case '1': options.answer_ms[0] = atoi(optarg); break;
        case '2': options.answer_ms[1] = atoi(optarg); break;
        case '3': options.answer_ms[2] = atoi(optarg); break;
        case 'x': options.into_ms[1] = atoi(optarg); break;
        case 't': options.into_ms[2] = atoi(optarg); break;
        case 'l': options.late_deltas = atoi(optarg); break;
        case 'S': options.speech_ms = atoi(optarg); break;
        case 'e': options.does_echo = true; break;
        case 'C': options.cert = optarg; break;
        case 'K': options.key = optarg; break;
        case 'r': options.rss_every_s = atof(optarg); break;
        case 'V': options.is_verbose = true; break;
        case 'h': print_help(); exit(0);
        default: exit(2);
        }
    }
    if (!options.port || !options.ai_port) die("--port and --ai-port are needed; see --help");
    if (options.calls < 1 || options.calls > 5000) die("--calls: use 1 to 5000");
}

static void prepare_tls(void) {
    if (!options.cert) return;
#ifdef WITH_TLS
    tls_context = must(SSL_CTX_new(TLS_server_method()));
    if (SSL_CTX_use_certificate_chain_file(tls_context, options.cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls_context, options.key, SSL_FILETYPE_PEM) != 1)
        die("--cert or --key: unreadable");
#else
    die("--cert: this generator was built without TLS");
#endif
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files = {65536, 65536};
    if (setrlimit(RLIMIT_NOFILE, &files) < 0) {
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    base64_prepare();
    prepare_audio();
    prepare_tls();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    lines = must(calloc((size_t)options.calls, sizeof *lines));
    conn_init(&listener, tcp_listen(options.ai_port), LISTENER, NULL, false);
    play();
    print_results();
    fflush(stdout);
    hang_up_all();
    return 0;
}
