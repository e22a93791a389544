/* Reads one HTTP/1.1 response after another from a byte stream, and checks every byte of it.
 *
 * It knows framing (content-length, chunked), event-stream boundaries and the send stamps that
 * mock_engine.c puts into events ("~" and 19 digits). It knows nothing of sockets. load.c uses it. */
#ifndef RESPONSE_H
#define RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STAMP_DIGITS = 19, MAX_HEAD = 16384 };

/* What the whole decoded body must be. The digits after each '~' are free. */
struct expected {
    const char *body;
    unsigned char *mask; /* 0xff where the byte must match, 0 where it is free */
    size_t len;
    bool exact;          /* false: only contain `marker` (for a proxy that re-serialises JSON) */
    const char *marker;
};

enum phase { READ_HEAD, READ_LENGTH, READ_CHUNK_SIZE, READ_CHUNK, READ_CHUNK_END, READ_TRAILER, RESPONSE_DONE, RESPONSE_BROKEN };

struct response {
    enum phase phase;
    int status;
    bool chunked, closes, differs, marker_seen;
    uint64_t remaining;  /* bytes left of the length body or of the chunk */
    size_t body_len;
    int events;
    int64_t stamp_ns;    /* the last complete stamp */
    int stamp_digits_left;
    char previous;
    char line[MAX_HEAD]; /* the head, later a chunk-size or trailer line */
    size_t line_len;
};

typedef void (*on_stamp)(void *context, int64_t stamp_ns);

void response_start(struct response *r);
/* Feeds bytes; returns how many were used (less than len only when the response is done or broken). */
size_t response_feed(struct response *r, const struct expected *want, const char *data, size_t len, on_stamp stamp, void *context);
/* True when the finished response is what was expected. */
bool response_correct(const struct response *r, const struct expected *want);
/* Builds the mask of `want` from its body. */
void expected_prepare(struct expected *want);

#endif
