/* Mock vLLM engines: what a gateway sees of vLLM's HTTP server, without the model.
 *
 * One thread, epoll, N engines on N consecutive loopback ports. They answer at once, so the cost that
 * is measured in front of them is the gateway's alone. The program knows nothing of gateways and
 * prints nothing while it serves. benchmarks/run.py starts it.
 *
 *   POST with "stream":true   SSE in chunked encoding: the first event at once, the next ones
 *                             every --interval-ms; one write per event, as uvicorn does; then
 *                             [DONE]. Each event's content is "~" and the 19 digits of
 *                             CLOCK_MONOTONIC in ns when it was sent.
 *   other POST                one JSON chat completion of about 590 bytes
 *   GET /health /v1/models /metrics /version, POST .../render   what routers ask of an engine
 *   GET /mock/wait/spin, /mock/wait/sleep   choose how the program waits (below)
 *
 * Two fields of the request body control a stream, both plain OpenAI fields that every router
 * forwards: "max_tokens":N or "max_completion_tokens":N (number of events) and "user":"every-N-ms"
 * (pace). A 1 ms tick steps the streams, so the tokens of many streams leave in bursts, as an
 * engine's do.
 *
 * How it waits when no socket is ready: "spin" asks the kernel again and again, so a gateway's write
 * never has to wake the process; "sleep" blocks in epoll_wait, as real servers do.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_REQUEST = 4 << 20, MAX_ENGINES = 64, STAMP_DIGITS = 19, SPIN_NS = 50000000, STEP_NS = 1000000 };

struct connection {
    int fd;
    int engine;
    unsigned generation; /* differs from that of an earlier connection with the same fd */
    char *in;
    size_t in_len, in_cap;
    char *out; /* bytes that the socket did not take yet */
    size_t out_len, out_cap;
    bool close_after;
    bool streaming;
    int events_left;
    int64_t due_ns, interval_ns;
};

struct timer {
    int64_t due_ns;
    int fd;
    unsigned generation;
};

struct engine {
    long requests, running, tokens;
};

static struct connection *connections[MAX_FDS];
static struct timer heap[MAX_FDS];
static int heap_len;
static struct engine engines[MAX_ENGINES];
static unsigned next_generation = 1;
static int epoll_fd, engine_count = 4;
static const char *model = "bench-model";
static int64_t default_interval_ns = 10 * 1000000LL;
static bool sleeps; /* in epoll_wait until something happens; otherwise spins */
static char answer[2048], event_head[512], event_tail[256], event_last_tail[256];
static size_t answer_len;

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void *must(void *p)
{
    if (!p) { fputs("mock_engine: out of memory\n", stderr); exit(1); }
    return p;
}

static void die(const char *what)
{
    fprintf(stderr, "mock_engine: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- timers: a binary heap of the streams' next events */

static void heap_push(struct timer t)
{
    int i = heap_len++;
    if (heap_len > MAX_FDS) { fputs("mock_engine: too many streams\n", stderr); exit(1); }
    for (; i > 0 && heap[(i - 1) / 2].due_ns > t.due_ns; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = t;
}

static struct timer heap_pop(void)
{
    struct timer top = heap[0], last = heap[--heap_len];
    int i = 0;
    for (;;) {
        int child = 2 * i + 1;
        if (child >= heap_len) break;
        if (child + 1 < heap_len && heap[child + 1].due_ns < heap[child].due_ns) child++;
        if (heap[child].due_ns >= last.due_ns) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* ---- writing */

static void watch_writable(struct connection *c, bool on)
{
    struct epoll_event e = {.events = EPOLLIN | (on ? EPOLLOUT : 0), .data.fd = c->fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void send_bytes(struct connection *c, const char *data, size_t len)
{
    if (!c->out_len) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n == (ssize_t)len) return;
        if (n < 0) {
            if (errno != EAGAIN) return; /* the read side sees the close */
            n = 0;
        }
        data += n;
        len -= (size_t)n;
        watch_writable(c, true);
    }
    if (c->out_len + len > c->out_cap) {
        c->out_cap = (c->out_len + len) * 2;
        c->out = must(realloc(c->out, c->out_cap));
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
}

static void drop(struct connection *c)
{
    if (c->streaming) engines[c->engine].running--;
    close(c->fd);
    connections[c->fd] = NULL;
    free(c->in);
    free(c->out);
    free(c);
}

/* Returns true when it closed the connection. */
static bool flush(struct connection *c)
{
    if (c->out_len) {
        ssize_t n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) return false;
            drop(c);
            return true;
        }
        memmove(c->out, c->out + n, c->out_len - (size_t)n);
        c->out_len -= (size_t)n;
    }
    if (!c->out_len) {
        watch_writable(c, false);
        if (c->close_after && !c->streaming) { drop(c); return true; }
    }
    return false;
}

static void send_json(struct connection *c, const char *status, const char *body)
{
    char page[8192];
    int n = snprintf(page, sizeof page,
                     "HTTP/1.1 %s\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\nserver: uvicorn\r\n"
                     "content-length: %zu\r\ncontent-type: application/json\r\n\r\n%s",
                     status, strlen(body), body);
    send_bytes(c, page, (size_t)n);
}

/* ---- streams */

static void send_event(struct connection *c)
{
    char event[1024], chunk[1100];
    const char *tail = c->events_left == 1 ? event_last_tail : event_tail;
    int len = snprintf(event, sizeof event, "%s~%019lld%s", event_head, (long long)now_ns(), tail);
    int n = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", (unsigned)len, event);
    send_bytes(c, chunk, (size_t)n);
    c->events_left--;
    engines[c->engine].tokens++;
}

static void end_stream(struct connection *c)
{
    static const char done[] = "e\r\ndata: [DONE]\n\n\r\n", end[] = "0\r\n\r\n";
    send_bytes(c, done, sizeof done - 1);
    send_bytes(c, end, sizeof end - 1);
    c->streaming = false;
    engines[c->engine].running--;
}

static void start_stream(struct connection *c, int events, int64_t interval_ns)
{
    static const char head[] = "HTTP/1.1 200 OK\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\nserver: uvicorn\r\n"
                               "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    c->streaming = true;
    c->events_left = events;
    c->interval_ns = interval_ns;
    c->due_ns = now_ns() + interval_ns;
    engines[c->engine].running++;
    send_bytes(c, head, sizeof head - 1);
    send_event(c);
    heap_push((struct timer){c->due_ns, c->fd, c->generation});
}

/* ---- requests */

static const char *field(const char *body, const char *end, const char *quoted_name)
{
    size_t n = strlen(quoted_name);
    const char *p = memmem(body, (size_t)(end - body), quoted_name, n);
    if (!p) return NULL;
    for (p += n; p < end && (*p == ' ' || *p == ':'); p++) {}
    return p < end ? p : NULL;
}

static void answer_post(struct connection *c, const char *path, const char *body, const char *end)
{
    engines[c->engine].requests++;
    size_t path_len = strcspn(path, " ?");
    if (path_len > 7 && !memcmp(path + path_len - 7, "/render", 7)) {
        send_json(c, "200 OK", "{\"token_ids\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}");
        return;
    }
    const char *stream = field(body, end, "\"stream\""), *count = field(body, end, "\"max_tokens\"");
    const char *pace = memmem(body, (size_t)(end - body), "\"every-", 7);
    if (!count) count = field(body, end, "\"max_completion_tokens\"");
    if (!stream || end - stream < 4 || memcmp(stream, "true", 4)) {
        engines[c->engine].tokens++;
        send_bytes(c, answer, answer_len);
        return;
    }
    int events = count ? atoi(count) : 128, every_ms = 0;
    if (pace) sscanf(pace, "\"every-%d-ms\"", &every_ms);
    if (events < 1) events = 1;
    start_stream(c, events, every_ms > 0 ? every_ms * 1000000LL : default_interval_ns);
}

static void answer_get(struct connection *c, const char *path)
{
    char body[4096];
    struct engine *e = &engines[c->engine];
    if (!strncmp(path, "/v1/models", 10)) {
        snprintf(body, sizeof body,
                 "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1,\"owned_by\":\"vllm\","
                 "\"root\":\"%s\",\"parent\":null,\"max_model_len\":32768,\"permission\":[]}]}", model, model);
    } else if (!strncmp(path, "/metrics", 8)) {
        snprintf(body, sizeof body,
                 "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\",model_name=\"%s\"} %ld.0\n"
                 "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine=\"0\",model_name=\"%s\"} 0.0\n"
                 "# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{engine=\"0\",model_name=\"%s\"} 0.1\n"
                 "# TYPE vllm:prompt_tokens_total counter\nvllm:prompt_tokens_total{engine=\"0\",model_name=\"%s\"} %ld.0\n"
                 "# TYPE vllm:generation_tokens_total counter\nvllm:generation_tokens_total{engine=\"0\",model_name=\"%s\"} %ld.0\n",
                 model, e->running, model, model, model, e->requests * 200, model, e->tokens);
    } else if (!strncmp(path, "/mock/wait/", 11)) {
        sleeps = !strncmp(path + 11, "sleep", 5);
        snprintf(body, sizeof body, "%s", sleeps ? "sleep" : "spin");
    } else if (!strncmp(path, "/version", 8)) {
        snprintf(body, sizeof body, "{\"version\":\"0.32.0\"}");
    } else if (!strncmp(path, "/get_model_info", 15) || !strncmp(path, "/model_info", 11)) {
        snprintf(body, sizeof body, "{\"model_path\":\"%s\",\"is_generation\":true}", model);
    } else if (!strncmp(path, "/get_server_info", 16) || !strncmp(path, "/server_info", 12)) {
        snprintf(body, sizeof body, "{\"model_path\":\"%s\",\"served_model_name\":\"%s\"}", model, model);
    } else {
        body[0] = 0; /* /health, /ping and the like */
    }
    send_json(c, "200 OK", body);
}

static const char *header(const char *head, const char *end, const char *name)
{
    size_t n = strlen(name);
    for (const char *line = head; line && line < end; line = memchr(line, '\n', (size_t)(end - line))) {
        if (*line == '\n') line++;
        if (!strncasecmp(line, name, n) && line[n] == ':') return line + n + 1 + strspn(line + n + 1, " ");
    }
    return NULL;
}

/* Decodes a chunked body in place. Returns bytes of input used, 0 when incomplete; *body_len is set. */
static size_t decode_chunks(char *body, size_t len, size_t *body_len)
{
    size_t at = 0, out = 0;
    for (;;) {
        char *line_end = memmem(body + at, len - at, "\r\n", 2);
        if (!line_end) return 0;
        size_t size = strtoul(body + at, NULL, 16);
        at = (size_t)(line_end - body) + 2;
        if (size > MAX_REQUEST || at + size + 2 > len) return 0;
        memmove(body + out, body + at, size);
        out += size;
        at += size + 2;
        if (!size) { *body_len = out; return at; }
    }
}

/* Serves one buffered request. Returns the bytes it used, 0 when more must be read. */
static size_t serve_one(struct connection *c)
{
    char *split = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!split) return 0;
    size_t head_len = (size_t)(split - c->in) + 4, used = head_len, body_len = 0;
    const char *end = split + 2, *length = header(c->in, end, "content-length");
    const char *coding = header(c->in, end, "transfer-encoding"), *connection = header(c->in, end, "connection");
    bool close_after = connection && !strncasecmp(connection, "close", 5);
    char *body = c->in + head_len;
    if (coding) {
        char *copy = must(malloc(c->in_len - head_len + 1)); /* a partial body must stay as it is */
        memcpy(copy, body, c->in_len - head_len);
        size_t n = decode_chunks(copy, c->in_len - head_len, &body_len);
        if (n) { memcpy(body, copy, body_len); used += n; }
        free(copy);
        if (!n) return 0;
    } else if (length) {
        body_len = strtoul(length, NULL, 10);
        if (c->in_len < head_len + body_len) return 0;
        used += body_len;
    }
    c->close_after = close_after;
    const char *path = memchr(c->in, ' ', head_len);
    if (!path) send_json(c, "400 Bad Request", "{}");
    else if (!strncmp(c->in, "POST ", 5)) answer_post(c, path + 1, body, body + body_len);
    else answer_get(c, path + 1);
    return used;
}

static void serve_buffered(struct connection *c)
{
    while (!c->streaming && c->in_len) {
        size_t used = serve_one(c);
        if (!used) break;
        memmove(c->in, c->in + used, c->in_len - used);
        c->in_len -= used;
        if (c->close_after && !c->streaming) { flush(c); return; }
    }
}

static void step_streams(void)
{
    static int64_t next_step_ns;
    int64_t now = now_ns();
    if (now < next_step_ns) return;
    next_step_ns = now + STEP_NS;
    while (heap_len && heap[0].due_ns <= now) {
        struct timer t = heap_pop();
        struct connection *c = connections[t.fd];
        if (!c || c->generation != t.generation || !c->streaming) continue;
        if (c->events_left) send_event(c);
        if (c->events_left) {
            c->due_ns += c->interval_ns;
            heap_push((struct timer){c->due_ns, c->fd, c->generation});
            continue;
        }
        end_stream(c);
        if (c->close_after) flush(c);
        else serve_buffered(c);
    }
}

static void read_requests(struct connection *c)
{
    if (c->in_cap - c->in_len < 16384) {
        c->in_cap = c->in_cap * 2 + 32768;
        if (c->in_cap > MAX_REQUEST * 2) { drop(c); return; }
        c->in = must(realloc(c->in, c->in_cap));
    }
    ssize_t n = recv(c->fd, c->in + c->in_len, c->in_cap - c->in_len, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(c); return; }
    if (n < 0) return;
    c->in_len += (size_t)n;
    serve_buffered(c);
}

/* ---- sockets */

static void accept_connections(int listener, int engine)
{
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        if (fd >= MAX_FDS) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = must(calloc(1, sizeof *c));
        c->fd = fd;
        c->engine = engine;
        c->generation = next_generation++;
        connections[fd] = c;
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int listen_on(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0) die("listen on loopback");
    return fd;
}

static void render_answers(void)
{
    char body[1024];
    int n = snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1700000000,"
        "\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The herd stands ready: "
        "each rider is given the fresh horse that suits the road, and none waits.\",\"refusal\":null,\"annotations\":null,"
        "\"audio\":null,\"function_call\":null,\"tool_calls\":[],\"reasoning_content\":null},\"logprobs\":null,"
        "\"finish_reason\":\"stop\",\"stop_reason\":null}],\"service_tier\":null,\"system_fingerprint\":null,"
        "\"usage\":{\"prompt_tokens\":212,\"total_tokens\":236,\"completion_tokens\":24}}", model);
    answer_len = (size_t)snprintf(answer, sizeof answer,
        "HTTP/1.1 200 OK\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\nserver: uvicorn\r\n"
        "content-length: %d\r\ncontent-type: application/json\r\n\r\n%s", n, body);
    snprintf(event_head, sizeof event_head,
        "data: {\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion.chunk\","
        "\"created\":1700000000,\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", model);
    snprintf(event_tail, sizeof event_tail, "\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    snprintf(event_last_tail, sizeof event_last_tail,
        "\"},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null}]}\n\n");
}

/* Spinning: a gateway's write must not pay for waking this process, or a gateway that is fast enough to
 * keep it awake would look cheaper than it is. sched_yield lets the load generator run, which spins on
 * the same core. After SPIN_NS without an event the process sleeps: nothing is being measured. */
static int spin(struct epoll_event *ready, int max)
{
    static int64_t last_event_ns;
    int n = epoll_wait(epoll_fd, ready, max, 0);
    int64_t now = now_ns();
    if (n > 0) {
        last_event_ns = now;
    } else if (heap_len || now - last_event_ns < SPIN_NS) {
        sched_yield();
    } else {
        n = epoll_wait(epoll_fd, ready, max, -1);
        last_event_ns = now_ns();
    }
    return n;
}

/* Sleeping: blocks until a socket is ready or the next event of a stream is due. */
static int block(struct epoll_event *ready, int max)
{
    int timeout_ms = -1;
    if (heap_len) {
        int64_t left_ns = heap[0].due_ns - now_ns();
        timeout_ms = left_ns > 0 ? (int)((left_ns + 999999) / 1000000) : 1;
    }
    return epoll_wait(epoll_fd, ready, max, timeout_ms);
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    int first_port = 0, listeners[MAX_ENGINES];
    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--port")) first_port = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--engines")) engine_count = atoi(argv[i + 1]);
        else if (!strcmp(argv[i], "--model")) model = argv[i + 1];
        else if (!strcmp(argv[i], "--interval-ms")) default_interval_ns = atoi(argv[i + 1]) * 1000000LL;
        else if (!strcmp(argv[i], "--wait") && !strcmp(argv[i + 1], "sleep")) sleeps = true;
        else if (!strcmp(argv[i], "--wait") && !strcmp(argv[i + 1], "spin")) sleeps = false;
        else first_port = -1;
    }
    if (first_port <= 0 || engine_count < 1 || engine_count > MAX_ENGINES || strlen(model) > 64 || argc % 2 == 0) {
        fputs("usage: mock_engine --port FIRST [--engines 4] [--model bench-model] [--interval-ms 10] [--wait spin|sleep]\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    render_answers();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < engine_count; i++) {
        listeners[i] = listen_on(first_port + i);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = listeners[i]};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listeners[i], &e);
    }
    for (;;) {
        struct epoll_event ready[1024];
        int n = sleeps ? block(ready, 1024) : spin(ready, 1024);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd, engine = -1;
            for (int k = 0; k < engine_count; k++) if (listeners[k] == fd) engine = k;
            if (engine >= 0) { accept_connections(fd, engine); continue; }
            struct connection *c = connections[fd];
            if (!c) continue;
            if ((ready[i].events & EPOLLOUT) && flush(c)) continue;
            if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_requests(c);
        }
        step_streams();
    }
}
