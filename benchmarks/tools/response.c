/* See response.h. */
#define _GNU_SOURCE
#include "response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

void response_start(struct response *r)
{
    memset(r, 0, offsetof(struct response, line));
    r->line_len = 0;
}

void expected_prepare(struct expected *want)
{
    int free_digits = 0;
    want->mask = malloc(want->len + 1);
    if (!want->mask) abort();
    for (size_t i = 0; i < want->len; i++) {
        want->mask[i] = free_digits > 0 ? 0 : 0xff;
        if (free_digits > 0) free_digits--;
        if (want->body[i] == '~') free_digits = STAMP_DIGITS;
    }
}

bool response_correct(const struct response *r, const struct expected *want)
{
    if (r->phase != RESPONSE_DONE || r->status != 200) return false;
    if (want->exact) return !r->differs && r->body_len == want->len;
    return r->marker_seen;
}

static void compare(struct response *r, const struct expected *want, const char *data, size_t len)
{
    unsigned char wrong = 0;
    if (r->body_len + len > want->len) { r->differs = true; return; }
    const char *body = want->body + r->body_len;
    const unsigned char *mask = want->mask + r->body_len;
    for (size_t i = 0; i < len; i++) wrong |= (unsigned char)((data[i] ^ body[i]) & mask[i]);
    if (wrong) r->differs = true;
}

/* Finds send stamps and event ends without trusting how the bytes were cut into reads. */
static void scan(struct response *r, const char *data, size_t len, on_stamp stamp, void *context)
{
    for (size_t i = 0; i < len; i++) {
        char c = data[i];
        if (r->stamp_digits_left) {
            if (c < '0' || c > '9') { r->stamp_digits_left = 0; continue; }
            r->stamp_ns = r->stamp_ns * 10 + (c - '0');
            if (--r->stamp_digits_left == 0) stamp(context, r->stamp_ns);
        } else if (c == '~') {
            r->stamp_digits_left = STAMP_DIGITS;
            r->stamp_ns = 0;
        } else if (c == '\n' && r->previous == '\n') {
            r->events++;
            c = 0;
        }
        r->previous = c;
    }
}

static void take_body(struct response *r, const struct expected *want, const char *data, size_t len, on_stamp stamp, void *context)
{
    if (want->exact) compare(r, want, data, len);
    else if (!r->marker_seen && want->marker && memmem(data, len, want->marker, strlen(want->marker))) r->marker_seen = true;
    scan(r, data, len, stamp, context);
    r->body_len += len;
}

static const char *header(const char *head, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (!strncasecmp(line, name, n) && line[n] == ':') return line + n + 1 + strspn(line + n + 1, " ");
    }
    return NULL;
}

static enum phase read_head(struct response *r)
{
    r->line[r->line_len] = 0;
    if (strncmp(r->line, "HTTP/1.1 ", 9)) return RESPONSE_BROKEN;
    r->status = atoi(r->line + 9);
    const char *coding = header(r->line, "transfer-encoding"), *length = header(r->line, "content-length");
    const char *connection = header(r->line, "connection");
    r->closes = connection && !strncasecmp(connection, "close", 5);
    r->line_len = 0;
    if (coding && !strncasecmp(coding, "chunked", 7)) { r->chunked = true; return READ_CHUNK_SIZE; }
    if (!length) return RESPONSE_BROKEN;
    r->remaining = strtoull(length, NULL, 10);
    return r->remaining ? READ_LENGTH : RESPONSE_DONE;
}

/* Gathers bytes up to and with `end`; true when it is complete. */
static bool gather(struct response *r, const char *end, const char *data, size_t len, size_t *used)
{
    size_t end_len = strlen(end);
    while (*used < len && r->line_len < MAX_HEAD - 1) {
        r->line[r->line_len++] = data[(*used)++];
        if (r->line_len >= end_len && !memcmp(r->line + r->line_len - end_len, end, end_len)) return true;
    }
    if (r->line_len >= MAX_HEAD - 1) r->phase = RESPONSE_BROKEN;
    return false;
}

static void read_chunk_size(struct response *r)
{
    char *end;
    r->line[r->line_len] = 0;
    r->remaining = strtoull(r->line, &end, 16);
    bool valid = end != r->line && (*end == '\r' || *end == ';');
    r->line_len = 0;
    r->phase = !valid ? RESPONSE_BROKEN : r->remaining ? READ_CHUNK : READ_TRAILER;
}

size_t response_feed(struct response *r, const struct expected *want, const char *data, size_t len, on_stamp stamp, void *context)
{
    size_t used = 0;
    while (used < len && r->phase < RESPONSE_DONE) {
        if (r->phase == READ_HEAD) {
            if (gather(r, "\r\n\r\n", data, len, &used)) r->phase = read_head(r);
        } else if (r->phase == READ_CHUNK_SIZE) {
            if (gather(r, "\r\n", data, len, &used)) read_chunk_size(r);
        } else if (r->phase == READ_CHUNK_END) {
            if (gather(r, "\r\n", data, len, &used)) {
                r->phase = r->line_len == 2 ? READ_CHUNK_SIZE : RESPONSE_BROKEN;
                r->line_len = 0;
            }
        } else if (r->phase == READ_TRAILER) {
            if (gather(r, "\r\n", data, len, &used)) {
                if (r->line_len == 2) r->phase = RESPONSE_DONE;
                r->line_len = 0;
            }
        } else {
            size_t n = len - used < r->remaining ? len - used : (size_t)r->remaining;
            take_body(r, want, data + used, n, stamp, context);
            used += n;
            r->remaining -= n;
            if (!r->remaining) r->phase = r->phase == READ_CHUNK ? READ_CHUNK_END : RESPONSE_DONE;
        }
    }
    return used;
}
