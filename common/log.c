#include "common/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define VALUE_MOST  512
#define LINE_MOST   ((size_t)8192)
#define BATCH_MOST  ((size_t)1 << 20)
#define BATCH_FLUSH ((size_t)64 << 10)

/* The lines of this turn, each ended by a newline. */
static struct {
    char program[32];
    int fd;
    enum log_kind kind;
    enum log_level most;
    struct buf batch;
    unsigned long lost; /* lines that nobody could take */
} state = {.program = "postino", .fd = STDERR_FILENO, .kind = LOG_TO_STDERR, .most = LOG_LEVEL_INFO, .batch = {.limit = BATCH_MOST}};

void log_open(const char *program, int fd, enum log_kind kind, enum log_level most)
{
    log_flush();
    if (state.fd != fd && state.fd > STDERR_FILENO)
        close(state.fd);
    snprintf(state.program, sizeof state.program, "%s", program);
    state.fd = fd;
    state.kind = kind;
    state.most = most;
}

int log_descriptor(void)
{
    return state.fd;
}

static int priority(enum log_level level)
{
    static const int of[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    return LOG_MAIL | of[level];
}

/* The text of a second is made once. */
static void add_time(struct buf *out)
{
    static char text[32];
    static time_t of = -1;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != of) {
        struct tm utc;
        gmtime_r(&now.tv_sec, &utc);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
        of = now.tv_sec;
    }
    buf_printf(out, "%s.%06ldZ ", text, now.tv_nsec / 1000);
}

static pid_t own_pid;

static void forget_pid(void)
{
    own_pid = 0;
}

/* Asked of the kernel once in a process. */
static pid_t cached_pid(void)
{
    static bool watching;
    if (!watching)
        watching = pthread_atfork(NULL, NULL, forget_pid) == 0;
    if (own_pid == 0 || !watching)
        own_pid = getpid();
    return own_pid;
}

static void add_head(struct buf *out, enum log_level level)
{
    if (state.kind == LOG_TO_SYSLOG)
        buf_printf(out, "<%d>", priority(level));
    else
        add_time(out);
    buf_printf(out, "%s[%d]: ", state.program, (int)cached_pid());
}

/* One entry is one line, whatever is in it: the last door before a reader that goes by lines. */
static void add_body(struct buf *out, struct span line)
{
    size_t at = out->len, n = line.n < LINE_MOST ? line.n : LINE_MOST;
    buf_add(out, line.p, n);
    buf_add_char(out, '\n');
    if (out->failed)
        return;
    for (size_t i = at; i < at + n; i++) {
        unsigned char c = (unsigned char)out->data[i];
        if (c < ' ' || c == 0x7f)
            out->data[i] = '?';
    }
}

static void add_line(enum log_level level, struct span line)
{
    size_t before = state.batch.len;
    add_head(&state.batch, level);
    add_body(&state.batch, line);
    if (state.batch.failed) {
        state.batch.failed = false;
        state.batch.len = before;
        state.lost++;
    }
    if (state.batch.len >= BATCH_FLUSH)
        log_flush();
}

/* A pipe or a file takes the batch in one write. What a full pipe doesn't take waits for the next turn. */
static void write_stream(void)
{
    while (state.batch.len > 0) {
        ssize_t n = write(state.fd, state.batch.data, state.batch.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            state.batch.len = 0;
        if (n <= 0)
            return;
        buf_consume(&state.batch, (size_t)n);
    }
}

/* /dev/log takes a line a datagram. A line that it can't take is lost: mail does not wait for syslog. */
static void send_datagrams(void)
{
    const char *at = state.batch.data;
    const char *end = at + state.batch.len;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((newline != NULL ? newline : end) - at);
        if (send(state.fd, at, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            state.lost++;
        at += n + 1;
    }
    state.batch.len = 0;
}

static void tell_lost(void)
{
    if (state.lost == 0 || state.batch.len > 0)
        return;
    char text[64];
    int n = snprintf(text, sizeof text, "log lines-lost=%lu", state.lost);
    state.lost = 0;
    add_line(LOG_LEVEL_WARNING, span_make(text, (size_t)n));
}

void log_flush(void)
{
    int saved = errno;
    if (state.batch.len > 0) {
        if (state.kind == LOG_TO_SYSLOG)
            send_datagrams();
        else
            write_stream();
        tell_lost();
    }
    errno = saved;
}

static void add_line_v(enum log_level level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void add_line_v(enum log_level level, const char *fmt, va_list ap)
{
    char text[2048];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    if (n < 0)
        return;
    add_line(level, span_make(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1));
}

bool log_wanted(enum log_level level)
{
    return level <= state.most;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (!log_wanted(level))
        return;
    va_list ap;
    va_start(ap, fmt);
    add_line_v(level, fmt, ap);
    va_end(ap);
}

void log_buf(enum log_level level, const struct buf *line)
{
    if (log_wanted(level))
        add_line(level, buf_span(line));
}

static bool needs_quotes(struct span value)
{
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] == ' ' || value.p[i] == '=' || value.p[i] == '"')
            return true;
    return value.n == 0;
}

static void add_escaped(struct buf *out, struct span value)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t done = 0; /* runs of plain characters go in one piece */
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        bool binary = c < ' ' || c >= 0x7f;
        if (!binary && c != '"' && c != '\\')
            continue;
        buf_add(out, value.p + done, i - done);
        done = i;
        if (binary) {
            buf_add(out, (char[]){'\\', 'x', hex[c >> 4], hex[c & 15]}, 4);
            done++;
        } else {
            buf_add_char(out, '\\');
        }
    }
    if (value.n > done)
        buf_add(out, value.p + done, value.n - done);
}

void log_value(struct buf *out, const char *key, struct span value)
{
    if (value.n > VALUE_MOST)
        value.n = VALUE_MOST;
    bool quotes = needs_quotes(value);
    if (out->len > 0 && out->data[out->len - 1] != ' ')
        buf_add_char(out, ' ');
    buf_add_text(out, key);
    buf_add_text(out, quotes ? "=\"" : "=");
    add_escaped(out, value);
    if (quotes)
        buf_add_char(out, '"');
}

void log_die(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_line_v(LOG_LEVEL_ERROR, fmt, ap);
    va_end(ap);
    log_flush();
    abort();
}
