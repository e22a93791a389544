/* Load generator: asks an HTTP server for chat completions over loopback and checks every answer.
 *
 *   load requests   closed loop: each of --connections keep-alive connections sends the next request
 *                   when the last one is answered, for --seconds or --count requests
 *   load streams    the same for event streams; they begin evenly over --ramp-s, so their steps do not
 *                   coincide; reports each event's delay since the engine sent it
 *   load rate       open loop: --rate requests per second; a delay counts from the moment the request
 *                   was due (no coordinated omission); first byte = first byte of the body's first event
 *   load idle       opens --connections, holds them for --hold-s, then asks once on each
 *
 * --request FILE holds the request's bytes, --expect FILE the body that every answer must have (digits
 * after '~' are free); --contains TEXT looks only for TEXT instead (for a proxy that re-serialises).
 * --wait spin asks the kernel for events again and again, so the server's write never has to wake this
 * process; --wait sleep blocks until a socket is ready, as wrk does.
 * Prints one JSON object. One thread; loopback only. benchmarks/run.py starts it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "response.h"

enum { MAX_FDS = 65536, GRACE_S = 20, CONNECTS_AT_ONCE = 128 };
enum mode { REQUESTS, STREAMS, RATE, IDLE };
enum state { CLOSED, CONNECTING, FREE, BUSY };

struct connection {
    int fd;
    enum state state;
    bool first_byte_seen;
    int64_t started_ns; /* in the open loop: when the request was due */
    size_t sent;        /* bytes of the request already in the socket */
    struct response response;
};

struct samples {
    double *us;
    size_t len, cap;
};

static struct {
    enum mode mode;
    int port, connections;
    bool sleeps;
    long count;
    double seconds, rate, hold_s, ramp_s;
    char *request;
    size_t request_len;
    struct expected expected;
} options = {.connections = 64, .seconds = 3, .hold_s = 2};

static struct {
    long started, finished, bytes, events, reconnects;
    long bad_status, bad_body, broken, closed_early, connect_errors, unfinished, lost_idle;
} totals;

static int counts[BUSY + 1]; /* connections in each state */
static struct connection *all, *by_fd[MAX_FDS];
static struct samples first_byte, whole, delay;
static int epoll_fd;
static struct sockaddr_in address;
static int64_t start_ns, stop_ns;
static int first_bad_status;
static char first_bad[512];

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void add_sample(struct samples *s, int64_t ns)
{
    if (s->len == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 65536;
        s->us = realloc(s->us, s->cap * sizeof *s->us);
        if (!s->us) fail("out of memory");
    }
    s->us[s->len++] = (double)ns / 1000;
}

static void on_event(void *context, int64_t stamp_ns)
{
    struct connection *c = context;
    int64_t now = now_ns();
    if (!c->first_byte_seen) add_sample(&first_byte, now - c->started_ns);
    c->first_byte_seen = true;
    add_sample(&delay, now - stamp_ns);
}

/* ---- connections */

static void set_state(struct connection *c, enum state state)
{
    counts[c->state]--;
    c->state = state;
    counts[state]++;
}

static void watch(struct connection *c, int op, unsigned events)
{
    struct epoll_event e = {.events = events, .data.fd = c->fd};
    epoll_ctl(epoll_fd, op, c->fd, &e);
}

static void open_connection(struct connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || c->fd >= MAX_FDS) fail("socket (too few file descriptors?)");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    by_fd[c->fd] = c;
    set_state(c, CONNECTING);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) totals.connect_errors++;
    watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void close_connection(struct connection *c)
{
    by_fd[c->fd] = NULL;
    close(c->fd);
    set_state(c, CLOSED);
}

static void send_rest(struct connection *c)
{
    while (c->sent < options.request_len) {
        ssize_t n = send(c->fd, options.request + c->sent, options.request_len - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            return; /* the read sees a reset */
        }
        c->sent += (size_t)n;
    }
}

static void start_request(struct connection *c, int64_t due_ns)
{
    set_state(c, BUSY);
    c->started_ns = due_ns;
    c->first_byte_seen = false;
    c->sent = 0;
    response_start(&c->response);
    totals.started++;
    send_rest(c);
}

static bool may_start(void)
{
    if (options.count) return totals.started < options.count;
    return now_ns() < stop_ns;
}

/* ---- one answer ends */

static void note_bad(const struct response *r)
{
    if (first_bad_status) return;
    first_bad_status = r->status ? r->status : -1;
    snprintf(first_bad, sizeof first_bad, "status %d, %zu bytes, %d events, phase %d", r->status, r->body_len, r->events, (int)r->phase);
}

static void finish_request(struct connection *c)
{
    struct response *r = &c->response;
    if (!response_correct(r, &options.expected)) {
        if (r->status != 200) totals.bad_status++;
        else totals.bad_body++;
        note_bad(r);
    }
    totals.finished++;
    totals.bytes += (long)r->body_len;
    totals.events += r->events;
    if (options.mode != STREAMS) add_sample(&whole, now_ns() - c->started_ns);
    set_state(c, FREE);
    if (r->closes) {
        close_connection(c);
        totals.reconnects++;
        if (options.mode != IDLE && may_start()) open_connection(c);
    } else if (options.mode <= STREAMS && may_start()) {
        start_request(c, now_ns());
    }
}

static void lose_connection(struct connection *c)
{
    enum state was = c->state;
    close_connection(c);
    if (was == BUSY) {
        totals.closed_early++;
        note_bad(&c->response);
    } else if (was == CONNECTING) {
        totals.connect_errors++;
    } else if (options.mode == IDLE) {
        totals.lost_idle++;
        return;
    }
    if (may_start() && totals.connect_errors + totals.closed_early < 1000) {
        totals.reconnects++;
        open_connection(c);
    }
}

static void read_answer(struct connection *c)
{
    static char buffer[65536];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { lose_connection(c); return; }
    if (c->state != BUSY) { totals.broken++; lose_connection(c); return; } /* bytes nobody asked for */
    size_t used = response_feed(&c->response, &options.expected, buffer, (size_t)n, on_event, c);
    if (c->response.phase == RESPONSE_BROKEN || (c->response.phase == RESPONSE_DONE && used < (size_t)n)) {
        totals.broken++;
        note_bad(&c->response);
        totals.finished++;
        close_connection(c);
    } else if (c->response.phase == RESPONSE_DONE) {
        finish_request(c);
    }
}

static void on_ready(struct connection *c, unsigned events)
{
    if (c->state == CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) { lose_connection(c); return; }
        set_state(c, FREE);
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        if (options.mode <= STREAMS && may_start()) start_request(c, now_ns());
        return;
    }
    if ((events & EPOLLOUT) && c->state == BUSY && c->sent < options.request_len) {
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
        send_rest(c);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_answer(c);
}

/* Spinning: sched_yield lets the mock engines run, which spin on the same core (see mock_engine.c). */
static int spin(struct epoll_event *ready, int max, int64_t left_ns)
{
    int n = epoll_wait(epoll_fd, ready, max, 0);
    if (!n && left_ns > 0) sched_yield();
    return n;
}

static int block(struct epoll_event *ready, int max, int64_t left_ns)
{
    struct timespec left = {.tv_sec = left_ns / 1000000000, .tv_nsec = left_ns % 1000000000};
    return epoll_pwait2(epoll_fd, ready, max, left_ns > 0 ? &left : &(struct timespec){0}, NULL);
}

static void poll_until(int64_t deadline_ns)
{
    struct epoll_event ready[512];
    int64_t left_ns = deadline_ns - now_ns();
    int n = options.sleeps ? block(ready, 512, left_ns) : spin(ready, 512, left_ns);
    for (int i = 0; i < n; i++) {
        struct connection *c = by_fd[ready[i].data.fd];
        if (c) on_ready(c, ready[i].events);
    }
}

/* ---- the four modes */

static void wait_for_answers(void)
{
    int64_t give_up = now_ns() + GRACE_S * 1000000000LL;
    while (counts[BUSY] && now_ns() < give_up) poll_until(now_ns() + 20000000);
    totals.unfinished = counts[BUSY];
}

static void run_closed_loop(void)
{
    for (int i = 0; i < options.connections; i++) {
        int64_t due = start_ns + (int64_t)(options.ramp_s * 1e9 * i / options.connections);
        while (now_ns() < due) poll_until(due);
        open_connection(&all[i]);
        if (i % CONNECTS_AT_ONCE == CONNECTS_AT_ONCE - 1) poll_until(now_ns() + 1000000);
    }
    while (may_start() && totals.connect_errors < 1000) {
        int64_t tick = now_ns() + 50000000;
        poll_until(tick < stop_ns || options.count ? tick : stop_ns);
    }
    wait_for_answers();
}

static void open_all(void)
{
    int64_t give_up = now_ns() + GRACE_S * 1000000000LL;
    for (int i = 0; i < options.connections; i++) {
        open_connection(&all[i]);
        while (i % CONNECTS_AT_ONCE == 0 && counts[CONNECTING] && now_ns() < give_up) poll_until(now_ns() + 1000000);
    }
    while (counts[CONNECTING] && now_ns() < give_up) poll_until(now_ns() + 1000000);
}

static struct connection *free_connection(void)
{
    for (int i = 0; i < options.connections; i++)
        if (all[i].state == FREE) return &all[i];
    return NULL;
}

static void run_open_loop(void)
{
    open_all();
    start_ns = now_ns();
    long planned = (long)(options.rate * options.seconds), late = 0;
    for (long i = 0; i < planned; i++) {
        int64_t due = start_ns + (int64_t)((double)i / options.rate * 1e9);
        while (now_ns() < due) poll_until(due);
        struct connection *c = free_connection();
        if (c) start_request(c, due);
        else late++;
    }
    wait_for_answers();
    totals.unfinished += late; /* there was no free connection: the server is far behind */
}

static void run_idle(void)
{
    open_all();
    int64_t until = now_ns() + (int64_t)(options.hold_s * 1e9);
    while (now_ns() < until) poll_until(until);
    int next = 0;
    int64_t give_up = now_ns() + GRACE_S * 1000000000LL;
    while ((next < options.connections || counts[BUSY]) && now_ns() < give_up) {
        for (int busy = counts[BUSY]; busy < 64 && next < options.connections; next++)
            if (all[next].state == FREE) { start_request(&all[next], now_ns()); busy++; }
        poll_until(now_ns() + 10000000);
    }
    totals.unfinished = counts[BUSY];
}

/* ---- options and report */

static char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail(path);
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*len + 1);
    if (!data || fread(data, 1, *len, f) != *len) fail(path);
    data[*len] = 0;
    fclose(f);
    return data;
}

static void parse_options(int argc, char **argv)
{
    static const char *const modes[] = {"requests", "streams", "rate", "idle"};
    int mode = -1;
    for (int i = 0; argc > 1 && i < 4; i++) if (!strcmp(argv[1], modes[i])) mode = i;
    if (mode < 0 || argc % 2) { fputs("usage: load requests|streams|rate|idle --port N --request FILE (--expect FILE | --contains TEXT) ...\n", stderr); exit(2); }
    options.mode = (enum mode)mode;
    for (int i = 2; i < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--connections")) options.connections = atoi(value);
        else if (!strcmp(name, "--count")) options.count = atol(value);
        else if (!strcmp(name, "--seconds")) options.seconds = atof(value);
        else if (!strcmp(name, "--rate")) options.rate = atof(value);
        else if (!strcmp(name, "--wait") && !strcmp(value, "sleep")) options.sleeps = true;
        else if (!strcmp(name, "--wait") && !strcmp(value, "spin")) options.sleeps = false;
        else if (!strcmp(name, "--hold-s")) options.hold_s = atof(value);
        else if (!strcmp(name, "--ramp-s")) options.ramp_s = atof(value);
        else if (!strcmp(name, "--request")) options.request = read_file(value, &options.request_len);
        else if (!strcmp(name, "--expect")) {
            options.expected.body = read_file(value, &options.expected.len);
            options.expected.exact = true;
        } else if (!strcmp(name, "--contains")) options.expected.marker = value;
        else { fprintf(stderr, "load: unknown option %s %s\n", name, value); exit(2); }
    }
    if (!options.port || !options.request || (!options.expected.exact && !options.expected.marker)
        || options.connections < 1 || options.connections > MAX_FDS - 64) { fputs("load: missing or impossible option\n", stderr); exit(2); }
    if (options.expected.exact) expected_prepare(&options.expected);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_samples(const char *name, struct samples *s, bool raw)
{
    if (s->len) qsort(s->us, s->len, sizeof *s->us, ascending);
    size_t last = s->len ? s->len - 1 : 0;
    printf(", \"%s\": {\"count\": %zu", name, s->len);
    if (s->len)
        printf(", \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f", s->us[s->len / 2], s->us[(size_t)((double)last * 0.99 + 0.5)], s->us[last]);
    if (raw) {
        printf(", \"all\": [");
        for (size_t i = 0; i < s->len; i++) printf("%s%.1f", i ? "," : "", s->us[i]);
        printf("]");
    }
    printf("}");
}

static void print_report(double elapsed_s)
{
    bool raw = options.mode == RATE;
    printf("{\"elapsed_s\": %.6f, \"started\": %ld, \"finished\": %ld, \"bytes\": %ld, \"events\": %ld, \"reconnects\": %ld",
           elapsed_s, totals.started, totals.finished, totals.bytes, totals.events, totals.reconnects);
    printf(", \"failures\": {\"bad_status\": %ld, \"bad_body\": %ld, \"broken\": %ld, \"closed_early\": %ld, \"connect_errors\": %ld, "
           "\"unfinished\": %ld, \"lost_idle\": %ld}, \"first_failure\": \"%s\"",
           totals.bad_status, totals.bad_body, totals.broken, totals.closed_early, totals.connect_errors, totals.unfinished,
           totals.lost_idle, first_bad);
    print_samples("whole_us", &whole, false);
    print_samples("first_byte_us", &first_byte, raw);
    print_samples("event_delay_us", &delay, false);
    puts("}");
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    parse_options(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL); /* a sleep ends when its request is due, not 50 us later */
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) { limit.rlim_cur = limit.rlim_max; setrlimit(RLIMIT_NOFILE, &limit); }
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)options.connections, sizeof *all);
    if (!all) fail("out of memory");
    counts[CLOSED] = options.connections;
    start_ns = now_ns();
    stop_ns = start_ns + (int64_t)(options.seconds * 1e9);
    if (options.mode == RATE) run_open_loop();
    else if (options.mode == IDLE) run_idle();
    else run_closed_loop();
    print_report((double)(now_ns() - start_ns) / 1e9);
    return 0;
}
