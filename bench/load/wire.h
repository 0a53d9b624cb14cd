/* What the load generator and the floor relay share: sockets, WebSocket framing, JSON peeking.
 *
 * One thread, epoll, level-triggered. Nothing here is general: messages are whole frames (RFC 6455
 * without fragmentation, extensions or control frames over 125 bytes), JSON is only peeked at.
 */
#ifndef BENCH_LOAD_WIRE_H
#define BENCH_LOAD_WIRE_H
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <strings.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define NS_PER_MS 1000000LL
#define NS_PER_BYTE 125000LL /* 8 kHz mu-law: one byte is 125 us */
#define OUT_BYTES_MAX (64u << 20)

enum { OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *form, ...) {
    va_list list;
    va_start(list, form);
    vfprintf(stderr, form, list);
    va_end(list);
    fputc('\n', stderr);
    exit(3);
}

static void *must(void *pointer) {
    if (!pointer) die("out of memory");
    return pointer;
}

/* ------------------------------------------------------------------ one socket */

typedef struct {
    int fd;           /* -1: closed */
    int kind;         /* what the program takes it for */
    void *owner;
    bool is_client;   /* masks what it sends */
    bool is_open;     /* the WebSocket handshake is over */
    bool wants_write;
    uint8_t *in;
    size_t in_from, in_used, in_size;
    uint8_t *out;
    size_t out_from, out_used, out_size;
#ifdef WITH_TLS
    SSL *tls;
#endif
} Conn;

static int epoll_fd = -1;
static uint64_t written_bytes, read_bytes;

static void conn_watch(Conn *c, int op) {
    struct epoll_event event = {.events = EPOLLIN | (c->wants_write ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, op, c->fd, &event) < 0) die("epoll_ctl: %s", strerror(errno));
}

static void conn_init(Conn *c, int fd, int kind, void *owner, bool is_client) {
    int one = 1;
    memset(c, 0, sizeof *c);
    c->fd = fd;
    c->kind = kind;
    c->owner = owner;
    c->is_client = is_client;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    conn_watch(c, EPOLL_CTL_ADD);
}

static void conn_close(Conn *c) {
    if (c->fd < 0) return;
#ifdef WITH_TLS
    if (c->tls) SSL_free(c->tls);
    c->tls = NULL;
#endif
    close(c->fd);
    c->fd = -1;
    c->is_open = false;
    free(c->in);
    free(c->out);
    c->in = c->out = NULL;
    c->in_from = c->in_used = c->in_size = c->out_from = c->out_used = c->out_size = 0;
}

/* Bytes moved, 0 when it would block, -1 when the peer is gone. */
static ssize_t conn_raw(Conn *c, void *data, size_t size, bool is_write) {
#ifdef WITH_TLS
    if (c->tls) {
        int done = is_write ? SSL_write(c->tls, data, (int)size) : SSL_read(c->tls, data, (int)size);
        if (done > 0) return done;
        int why = SSL_get_error(c->tls, done);
        ERR_clear_error();
        return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
#endif
    ssize_t done = is_write ? send(c->fd, data, size, MSG_NOSIGNAL) : recv(c->fd, data, size, 0);
    if (done > 0) return done;
    if (done < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return 0;
    return -1;
}

static bool conn_flush(Conn *c) {
    while (c->out_from < c->out_used) {
        ssize_t done = conn_raw(c, c->out + c->out_from, c->out_used - c->out_from, true);
        if (done < 0) return false;
        if (done == 0) break;
        c->out_from += (size_t)done;
        written_bytes += (uint64_t)done;
    }
    if (c->out_from == c->out_used) c->out_from = c->out_used = 0;
    bool wants = c->out_used > 0;
    if (wants != c->wants_write) {
        c->wants_write = wants;
        conn_watch(c, EPOLL_CTL_MOD);
    }
    return true;
}

__attribute__((unused)) static size_t conn_unsent(const Conn *c) { return c->out_used - c->out_from; }

/* Queue bytes; they leave with the next conn_flush. */
static void conn_put(Conn *c, const void *data, size_t size) {
    if (c->fd < 0) return;
    if (c->out_used + size > c->out_size) {
        size_t room = c->out_size ? c->out_size : 4096;
        while (room < c->out_used + size) room *= 2;
        if (room > OUT_BYTES_MAX) die("a peer does not read: %zu bytes unsent", c->out_used);
        c->out = must(realloc(c->out, room));
        c->out_size = room;
    }
    memcpy(c->out + c->out_used, data, size);
    c->out_used += size;
}

/* Read what is there; false when the peer is gone. */
static bool conn_fill(Conn *c) {
    if (c->in_from) {
        memmove(c->in, c->in + c->in_from, c->in_used - c->in_from);
        c->in_used -= c->in_from;
        c->in_from = 0;
    }
    for (;;) {
        if (c->in_size - c->in_used < 2048) {
            c->in_size = c->in_size ? c->in_size * 2 : 4096;
            if (c->in_size > OUT_BYTES_MAX) die("a message of over %u bytes", OUT_BYTES_MAX);
            c->in = must(realloc(c->in, c->in_size));
        }
        size_t room = c->in_size - c->in_used;
        ssize_t done = conn_raw(c, c->in + c->in_used, room, false);
        if (done < 0) return false;
        c->in_used += (size_t)done;
        read_bytes += (uint64_t)done;
#ifdef WITH_TLS
        if (c->tls && done > 0) continue; /* the library may hold more than the socket does */
#endif
        if ((size_t)done < room) return true;
    }
}

/* ------------------------------------------------------------------ WebSocket */

static void ws_put(Conn *c, int op, const void *data, size_t size) {
    uint8_t head[14] = {(uint8_t)(0x80 | op)};
    size_t n = 2;
    if (size < 126) {
        head[1] = (uint8_t)size;
    } else if (size < 65536) {
        head[1] = 126;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        n = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++) head[2 + i] = (uint8_t)((uint64_t)size >> (56 - 8 * i));
        n = 10;
    }
    if (!c->is_client) {
        conn_put(c, head, n);
        conn_put(c, data, size);
        return;
    }
    /* A constant mask that is not zero: the peer pays for unmasking as for any other. */
    static const uint8_t mask[4] = {0x5a, 0xc3, 0x17, 0x88};
    uint64_t wide;
    memcpy(&wide, mask, 4);
    wide |= wide << 32;
    head[1] |= 0x80;
    memcpy(head + n, mask, 4);
    conn_put(c, head, n + 4);
    conn_put(c, data, size);
    if (c->fd < 0) return;
    uint8_t *p = c->out + c->out_used - size;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        word ^= wide;
        memcpy(p + i, &word, 8);
    }
    for (; i < size; i++) p[i] ^= mask[i & 3];
}

/* The next whole frame: 1 found, 0 not yet, -1 no WebSocket. The payload is unmasked in place. */
static int ws_next(Conn *c, int *op, char **data, size_t *size) {
    size_t have = c->in_used - c->in_from;
    uint8_t *p = c->in + c->in_from;
    if (have < 2) return 0;
    size_t n = 2, length = p[1] & 0x7f;
    if (length == 126) {
        if (have < 4) return 0;
        length = (size_t)p[2] << 8 | p[3];
        n = 4;
    } else if (length == 127) {
        if (have < 10) return 0;
        length = 0;
        for (int i = 0; i < 8; i++) length = length << 8 | p[2 + i];
        n = 10;
    }
    bool masked = p[1] & 0x80;
    if (length > OUT_BYTES_MAX || (p[0] & 0x70) || !(p[0] & 0x80)) return -1;
    if (have < n + (masked ? 4 : 0) + length) return 0;
    if (masked) {
        uint8_t *mask = p + n;
        uint64_t wide, word;
        n += 4;
        memcpy(&wide, mask, 4);
        wide = (wide & 0xffffffffu) | wide << 32;
        size_t i = 0;
        for (; i + 8 <= length; i += 8) {
            memcpy(&word, p + n + i, 8);
            word ^= wide;
            memcpy(p + n + i, &word, 8);
        }
        for (; i < length; i++) p[n + i] ^= mask[i & 3];
    }
    *op = p[0] & 15;
    *data = (char *)p + n;
    *size = length;
    c->in_from += n + length;
    return 1;
}

/* ------------------------------------------------------------------ handshakes */

static void sha1(const uint8_t *data, size_t size, uint8_t out[20]) {
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t block[128] = {0}; /* the one text hashed here has 60 bytes: two blocks */
    memcpy(block, data, size);
    block[size] = 0x80;
    uint64_t bits = (uint64_t)size * 8;
    size_t total = size + 9 <= 64 ? 64 : 128;
    for (int i = 0; i < 8; i++) block[total - 1 - i] = (uint8_t)(bits >> (8 * i));
    for (size_t at = 0; at < total; at += 64) {
        uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)block[at + 4 * i] << 24 | block[at + 4 * i + 1] << 16 |
                   block[at + 4 * i + 2] << 8 | block[at + 4 * i + 3];
        for (int i = 16; i < 80; i++) {
            uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
            w[i] = x << 1 | x >> 31;
        }
        for (int i = 0; i < 80; i++) {
            uint32_t f, k;
            if (i < 20) f = (b & c) | (~b & d), k = 0x5A827999;
            else if (i < 40) f = b ^ c ^ d, k = 0x6ED9EBA1;
            else if (i < 60) f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
            else f = b ^ c ^ d, k = 0xCA62C1D6;
            uint32_t t = (a << 5 | a >> 27) + f + e + k + w[i];
            e = d, d = c, c = b << 30 | b >> 2, b = a, a = t;
        }
        h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
    }
    for (int i = 0; i < 20; i++) out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static size_t base64_encode(const uint8_t *data, size_t size, char *out) {
    size_t n = 0;
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three = (uint32_t)data[i] << 16;
        if (i + 1 < size) three |= (uint32_t)data[i + 1] << 8;
        if (i + 2 < size) three |= data[i + 2];
        out[n++] = BASE64[three >> 18];
        out[n++] = BASE64[three >> 12 & 63];
        out[n++] = i + 1 < size ? BASE64[three >> 6 & 63] : '=';
        out[n++] = i + 2 < size ? BASE64[three & 63] : '=';
    }
    out[n] = 0;
    return n;
}

static int8_t base64_value[256];

static void base64_prepare(void) {
    memset(base64_value, -1, sizeof base64_value);
    for (int i = 0; i < 64; i++) base64_value[(uint8_t)BASE64[i]] = (int8_t)i;
}

static size_t base64_bytes(const char *text, size_t size) {
    if (size < 4) return 0;
    return size / 4 * 3 - (text[size - 1] == '=') - (text[size - 2] == '=');
}

static size_t base64_decode(const char *text, size_t size, uint8_t *out) {
    size_t n = 0, total = base64_bytes(text, size);
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint32_t four = 0;
        for (int k = 0; k < 4; k++) {
            int8_t v = base64_value[(uint8_t)text[i + k]];
            four = four << 6 | (uint32_t)(v < 0 ? 0 : v);
        }
        for (int k = 0; k < 3 && n < total; k++) out[n++] = (uint8_t)(four >> (16 - 8 * k));
    }
    return n;
}

/* The end of a HTTP head in the input, NULL when it is not complete. */
static char *http_head(Conn *c, size_t *size) {
    char *from = (char *)c->in + c->in_from;
    char *end = memmem(from, c->in_used - c->in_from, "\r\n\r\n", 4);
    if (!end) return NULL;
    *size = (size_t)(end - from) + 4;
    c->in_from += *size;
    return from;
}

static bool http_header(const char *head, size_t size, const char *name, char *out, size_t room) {
    size_t n = strlen(name);
    for (const char *p = head; p + n + 3 < head + size; p++) {
        if (p[0] != '\r' || p[1] != '\n' || strncasecmp(p + 2, name, n) || p[2 + n] != ':') continue;
        p += 3 + n;
        while (*p == ' ') p++;
        size_t i = 0;
        while (p < head + size && *p != '\r' && i + 1 < room) out[i++] = *p++;
        out[i] = 0;
        return true;
    }
    return false;
}

/* Take an upgrade request and answer it: 1 open, 0 not yet, -1 no upgrade. */
static int ws_accept(Conn *c) {
    size_t size;
    char *head = http_head(c, &size), key[64], text[128], answer[512], protocol[256];
    if (!head) return c->in_used - c->in_from > 16384 ? -1 : 0;
    if (!http_header(head, size, "Sec-WebSocket-Key", key, sizeof key) || strlen(key) > 30) return -1;
    int n = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    uint8_t hash[20];
    char accept[32];
    sha1((uint8_t *)text, (size_t)n, hash);
    base64_encode(hash, 20, accept);
    bool chosen = http_header(head, size, "Sec-WebSocket-Protocol", protocol, sizeof protocol);
    if (chosen) protocol[strcspn(protocol, ", ")] = 0;
    n = snprintf(answer, sizeof answer,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n", accept,
                 chosen ? "Sec-WebSocket-Protocol: " : "", chosen ? protocol : "",
                 chosen ? "\r\n" : "");
    conn_put(c, answer, (size_t)n);
    c->is_open = true;
    return 1;
}

/* Ask for an upgrade; the answer is taken by ws_accepted. */
static void ws_ask(Conn *c, const char *host, int port, const char *path) {
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                     "\r\n", path, host, port);
    conn_put(c, text, (size_t)n);
}

static int ws_accepted(Conn *c) {
    size_t size;
    char *head = http_head(c, &size);
    if (!head) return 0;
    if (strncmp(head, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "upgrade refused: %.*s\n", (int)(size < 200 ? size : 200), head);
        return -1;
    }
    c->is_open = true;
    return 1;
}

static int tcp_listen(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 1024) < 0)
        die("port %d: %s", port, strerror(errno));
    return fd;
}


static int tcp_connect(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    /* Blocking: on loopback the kernel answers at once. */
    if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Wait for events until a time (CLOCK_MONOTONIC). */
static int wait_until(struct epoll_event *events, int room, int64_t until_ns) {
    int64_t left = until_ns - now_ns();
    if (left < 0) left = 0;
#ifdef SYS_epoll_pwait2
    static bool is_missing;
    if (!is_missing) {
        struct timespec t = {left / 1000000000LL, left % 1000000000LL};
        int n = (int)syscall(SYS_epoll_pwait2, epoll_fd, events, room, &t, NULL, 0);
        if (n >= 0 || errno == EINTR) return n < 0 ? 0 : n;
        is_missing = true;
    }
#endif
    int n = epoll_wait(epoll_fd, events, room, (int)((left + NS_PER_MS - 1) / NS_PER_MS));
    return n < 0 ? 0 : n;
}

/* ------------------------------------------------------------------ JSON, peeked at */

typedef struct {
    const char *at; /* of a string: without its quotes, still escaped */
    size_t size;
} Slice;

static const char *json_space(const char *p, const char *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p;
}

/* Behind the closing quote of the string whose first character is at p. */
static const char *json_string_end(const char *p, const char *end) {
    while (p < end) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        if (!quote) return end;
        const char *back = quote;
        while (back > p && back[-1] == '\\') back--;
        if ((quote - back) % 2 == 0) return quote + 1;
        p = quote + 1;
    }
    return end;
}

static const char *json_skip(const char *p, const char *end) {
    if (p >= end) return end;
    if (*p == '"') return json_string_end(p + 1, end);
    if (*p != '{' && *p != '[') {
        while (p < end && *p != ',' && *p != '}' && *p != ']') p++;
        return p;
    }
    int depth = 0;
    while (p < end) {
        char ch = *p++;
        if (ch == '"') p = json_string_end(p, end);
        else if (ch == '{' || ch == '[') depth++;
        else if ((ch == '}' || ch == ']') && --depth == 0) return p;
    }
    return end;
}

/* The value of a key of this object (not of those inside it); size 0 when there is none. */
static Slice json_get(Slice object, const char *key) {
    const char *p = object.at, *end = p + object.size;
    size_t n = strlen(key);
    p = json_space(p, end);
    if (p >= end || *p++ != '{') return (Slice){NULL, 0};
    while ((p = json_space(p, end)) < end && *p == '"') {
        const char *name = ++p;
        p = json_string_end(p, end);
        bool found = (size_t)(p - 1 - name) == n && !memcmp(name, key, n);
        p = json_space(p, end);
        if (p < end && *p == ':') p++;
        p = json_space(p, end);
        const char *value = p;
        p = json_skip(p, end);
        if (found && *value == '"') return (Slice){value + 1, (size_t)(p - value - 2)};
        if (found) return (Slice){value, (size_t)(p - value)};
        p = json_space(p, end);
        if (p < end && *p == ',') p++;
    }
    return (Slice){NULL, 0};
}

static bool json_is(Slice value, const char *text) {
    return value.size == strlen(text) && !memcmp(value.at, text, value.size);
}

__attribute__((unused)) static bool contains(Slice in, const char *text) {
    return in.at && memmem(in.at, in.size, text, strlen(text));
}
#endif
