#include "admin/submit.h"

#include "admin/place.h"
#include "common/address.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

/*      GREETING -> EHLO -> (MAIL, RCPT... -> DATA -> message -> end)+ -> QUIT
 * MAIL and RCPTs go out together, BATCH at a time, so that neither side waits with full buffers. */

enum { BATCH = 50, REPLY_SECONDS = 600, REPLY_MOST = 64 << 10, OUT_MOST = 64 << 10 };

enum extensions { EXT_8BITMIME = 1, EXT_DSN = 2, EXT_SMTPUTF8 = 4, EXT_SIZE = 8 };

struct session {
    const struct submission *s;
    int fd;
    struct buf in, out;
    size_t used;      /* of `in`, by the last reply */
    char server[256]; /* its name, from the reply to EHLO */
    int extensions;
    int code;          /* of the last reply */
    struct span reply; /* its last line, without the code */
    struct error *error;
};

/* ---- lines ----------------------------------------------------------------------------------------------------------------------- */

static int broken(struct session *c, const char *why)
{
    (void)error_set(c->error, "the connection to the mail system broke: %s; the message was not sent", why);
    return EX_TEMPFAIL;
}

static int flush(struct session *c)
{
    struct span rest = buf_span(&c->out);
    while (rest.n) {
        ssize_t n = send(c->fd, rest.p, rest.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return broken(c, strerror(errno));
        rest = (struct span){rest.p + n, rest.n - (size_t)n};
    }
    buf_clear(&c->out);
    return EX_OK;
}

static void show(const struct session *c, const char *who, struct span line)
{
    if (!c->s->verbose)
        return;
    (void)fputs(who, stderr);
    for (size_t i = 0; i < line.n; i++)
        if ((unsigned char)line.p[i] >= 32)
            (void)fputc(line.p[i], stderr);
    (void)fputc('\n', stderr);
}

static int read_line(struct session *c, struct span *line)
{
    for (;;) {
        const char *from = c->in.data ? c->in.data + c->used : NULL;
        const char *lf = from && c->in.len > c->used ? memchr(from, '\n', c->in.len - c->used) : NULL;
        if (lf) {
            size_t n = (size_t)(lf - from);
            c->used += n + 1;
            *line = (struct span){from, n && from[n - 1] == '\r' ? n - 1 : n};
            return EX_OK;
        }
        char bytes[4096];
        ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return broken(c, n == 0 ? "it hung up" : errno == EAGAIN ? "no reply came" : strerror(errno));
        buf_consume(&c->in, c->used);
        c->used = 0;
        buf_add(&c->in, bytes, (size_t)n);
        if (c->in.failed)
            return broken(c, "its reply is too long");
    }
}

/* A whole reply; `each`, if any, sees its lines without the code. */
static int read_reply(struct session *c, void (*each)(struct session *, struct span line, bool first))
{
    struct span line;
    bool first = true;
    do {
        int status = read_line(c, &line);
        if (status != EX_OK)
            return status;
        show(c, "<<< ", line);
        bool digits = line.n >= 3;
        for (size_t i = 0; digits && i < 3; i++)
            digits = line.p[i] >= '0' && line.p[i] <= '9';
        if (!digits)
            return broken(c, "its reply makes no sense");
        c->code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
        c->reply = line.n > 4 ? (struct span){line.p + 4, line.n - 4} : (struct span){0};
        if (each)
            each(c, c->reply, first);
        first = false;
    } while (line.n > 3 && line.p[3] == '-');
    return EX_OK;
}

static void say(struct session *c, struct buf *line)
{
    show(c, ">>> ", buf_span(line));
    buf_add_span(&c->out, buf_span(line));
    buf_add_text(&c->out, "\r\n");
    buf_clear(line);
}

static int command(struct session *c, const char *text)
{
    struct buf line = BUF_EMPTY(1024);
    buf_add_text(&line, text);
    say(c, &line);
    buf_free(&line);
    int status = flush(c);
    return status == EX_OK ? read_reply(c, NULL) : status;
}

/* ---- what a refusal means -------------------------------------------------------------------------------------------------------- */

static bool status_is(const struct session *c, const char *status)
{
    size_t n = strlen(status);
    return c->reply.n > n && memcmp(c->reply.p, status, n) == 0 && (status[n - 1] == '.' || c->reply.p[n] == ' ');
}

static int meaning(const struct session *c)
{
    if (c->code < 500)
        return EX_TEMPFAIL;
    if (status_is(c, "5.1.1") || status_is(c, "5.1.10"))
        return EX_NOUSER;
    if (c->code == 501 || status_is(c, "5.1.3") || status_is(c, "5.1.7") || status_is(c, "5.6."))
        return EX_DATAERR;
    return status_is(c, "5.7.") ? EX_NOPERM : EX_UNAVAILABLE;
}

static int refused(struct session *c, struct span what)
{
    char words[300];
    size_t n = 0;
    for (; n < sizeof words - 1 && n < c->reply.n; n++)
        words[n] = c->reply.p[n] < ' ' || c->reply.p[n] > '~' ? '?' : c->reply.p[n]; /* char is signed */
    words[n] = '\0';
    (void)error_set(c->error, "%.*s: %d %s", what.n < 150 ? (int)what.n : 150, what.p, c->code, words);
    return meaning(c);
}

/* ---- the beginning --------------------------------------------------------------------------------------------------------------- */

static void take_extension(struct session *c, struct span line, bool first)
{
    size_t n = 0;
    while (n < line.n && line.p[n] != ' ')
        n++;
    struct span word = {line.p, n};
    if (first) {
        if (address_is_domain(word, true))
            (void)snprintf(c->server, sizeof c->server, "%.*s", SPAN_ARG(word));
    } else if (span_equal_nocase(word, SPAN_LITERAL("8BITMIME"))) {
        c->extensions |= EXT_8BITMIME;
    } else if (span_equal_nocase(word, SPAN_LITERAL("DSN"))) {
        c->extensions |= EXT_DSN;
    } else if (span_equal_nocase(word, SPAN_LITERAL("SMTPUTF8"))) {
        c->extensions |= EXT_SMTPUTF8;
    } else if (span_equal_nocase(word, SPAN_LITERAL("SIZE"))) {
        c->extensions |= EXT_SIZE;
    }
}

static int begin(struct session *c)
{
    int status = read_reply(c, NULL);
    if (status != EX_OK)
        return status;
    if (c->code != 220)
        return refused(c, SPAN_LITERAL("the mail system"));
    struct buf line = BUF_EMPTY(64);
    buf_add_text(&line, "EHLO localhost");
    say(c, &line);
    buf_free(&line);
    if ((status = flush(c)) != EX_OK || (status = read_reply(c, take_extension)) != EX_OK)
        return status;
    return c->code == 250 ? EX_OK : refused(c, SPAN_LITERAL("EHLO"));
}

/* ---- the envelope ---------------------------------------------------------------------------------------------------------------- */

static bool utf8_addresses(const struct submission *s)
{
    bool any = !span_is_ascii(s->sender);
    for (size_t i = 0; i < s->count && !any; i++)
        any = !span_is_ascii(s->recipients[i]);
    return any;
}

/* What is beyond ASCII in a header need not be UTF-8: the mail system looks. */
static bool wants_utf8(const struct submission *s)
{
    return utf8_addresses(s) || !span_is_ascii(s->header);
}

static void say_mail(struct session *c)
{
    const struct submission *s = c->s;
    struct buf line = BUF_EMPTY(8192);
    buf_printf(&line, "MAIL FROM:<%.*s>", SPAN_ARG(s->sender));
    if (c->extensions & EXT_SIZE)
        buf_printf(&line, " SIZE=%zu", s->header.n + s->body.n);
    if ((c->extensions & EXT_8BITMIME) && (!span_is_ascii(s->header) || !span_is_ascii(s->body)))
        buf_add_text(&line, " BODY=8BITMIME");
    if ((c->extensions & EXT_SMTPUTF8) && wants_utf8(s))
        buf_add_text(&line, " SMTPUTF8");
    if ((c->extensions & EXT_DSN) && s->ret)
        buf_printf(&line, " RET=%s", s->ret);
    if ((c->extensions & EXT_DSN) && s->envid) {
        buf_add_text(&line, " ENVID=");
        xtext_encode(span_of(s->envid), &line);
    }
    say(c, &line);
    buf_free(&line);
}

static void say_rcpt(struct session *c, struct span recipient)
{
    struct buf line = BUF_EMPTY(8192);
    buf_printf(&line, "RCPT TO:<%.*s>", SPAN_ARG(recipient));
    if ((c->extensions & EXT_DSN) && c->s->notify)
        buf_printf(&line, " NOTIFY=%s", c->s->notify);
    say(c, &line);
    buf_free(&line);
}

struct transaction {
    size_t next;     /* the first recipient that has not been said */
    size_t accepted; /* in this transaction */
    bool full;       /* the server wants no more in this one; `next` is the first of the next one */
    int worst;       /* of the refusals for good; EX_OK: none */
};

/* The reply to one RCPT. */
static int take_rcpt(struct session *c, struct transaction *t, size_t i)
{
    int status = read_reply(c, NULL);
    if (status != EX_OK || t->full)
        return status; /* what follows the first refusal of a full transaction is asked again */
    if (c->code >= 200 && c->code < 300) {
        t->accepted++;
        return EX_OK;
    }
    if (c->code < 500 && t->accepted && status_is(c, "4.5.3")) {
        t->full = true;
        t->next = i;
        return EX_OK;
    }
    status = refused(c, c->s->recipients[i]);
    if (c->code < 500)
        return status;
    (void)fprintf(stderr, "sendmail: %s\n", c->error->text);
    c->error->text[0] = '\0'; /* told */
    t->worst = t->worst == EX_OK ? status : t->worst;
    return EX_OK;
}

static int say_recipients(struct session *c, struct transaction *t)
{
    while (t->next < c->s->count && !t->full) {
        size_t from = t->next, to = c->s->count - from < BATCH ? c->s->count : from + BATCH;
        for (size_t i = from; i < to; i++)
            say_rcpt(c, c->s->recipients[i]);
        t->next = to;
        int status = flush(c);
        for (size_t i = from; i < to && status == EX_OK; i++)
            status = take_rcpt(c, t, i);
        if (status != EX_OK)
            return status;
    }
    return EX_OK;
}

static int say_envelope(struct session *c, struct transaction *t)
{
    t->accepted = 0;
    t->full = false;
    say_mail(c);
    int status = flush(c);
    if (status == EX_OK)
        status = read_reply(c, NULL);
    if (status != EX_OK)
        return status;
    if (c->code != 250)
        return refused(c, c->s->sender.n ? c->s->sender : SPAN_LITERAL("<>"));
    return say_recipients(c, t);
}

/* ---- the message ----------------------------------------------------------------------------------------------------------------- */

static int say_line(struct session *c, struct span line)
{
    if (line.n && line.p[0] == '.')
        buf_add_char(&c->out, '.');
    buf_add_span(&c->out, line);
    buf_add_text(&c->out, "\r\n");
    if (c->out.failed)
        return broken(c, "out of memory");
    return c->out.len >= OUT_MOST ? flush(c) : EX_OK;
}

/* LF and CR LF both end a line; a last line without an end gets one. */
static int say_lines(struct session *c, struct span s)
{
    int status = EX_OK;
    while (s.n && status == EX_OK) {
        const char *lf = memchr(s.p, '\n', s.n);
        size_t n = lf ? (size_t)(lf - s.p) : s.n;
        status = say_line(c, (struct span){s.p, lf && n && s.p[n - 1] == '\r' ? n - 1 : n});
        n += lf != NULL;
        s = (struct span){s.p + n, s.n - n};
    }
    return status;
}

static int say_message(struct session *c)
{
    const struct submission *s = c->s;
    struct buf front = BUF_EMPTY(64 << 10);
    int status = command(c, "DATA");
    if (status == EX_OK && c->code != 354)
        status = refused(c, SPAN_LITERAL("the message"));
    if (status != EX_OK)
        return status;
    if (s->prepend)
        s->prepend(&front, c->server, s->arg);
    status = say_lines(c, buf_span(&front));
    buf_free(&front);
    if (status == EX_OK)
        status = say_lines(c, s->header);
    if (status == EX_OK)
        status = say_line(c, (struct span){0});
    if (status == EX_OK)
        status = say_lines(c, s->body);
    if (status == EX_OK)
        status = command(c, ".");
    if (status == EX_OK && c->code / 100 != 2)
        status = refused(c, SPAN_LITERAL("the message"));
    return status;
}

static int say_all(struct session *c)
{
    struct transaction t = {.worst = EX_OK};
    int status = begin(c);
    if (status == EX_OK && utf8_addresses(c->s) && !(c->extensions & EXT_SMTPUTF8)) {
        (void)error_set(c->error, "an address is not ASCII, and the mail system takes none such (SMTPUTF8)");
        return EX_DATAERR;
    }
    while (status == EX_OK && t.next < c->s->count) {
        status = say_envelope(c, &t);
        if (status == EX_OK && t.accepted == 0)
            break;
        if (status == EX_OK)
            status = say_message(c);
    }
    if (status == EX_OK)
        (void)command(c, "QUIT");
    return status == EX_OK ? t.worst : status;
}

static int session_open(const char *run, int *fd, struct error *error)
{
    struct timeval most = {.tv_sec = REPLY_SECONDS};
    int status = place_connect(run, "submit", fd, error);
    if (status != EX_OK)
        return status;
    (void)setsockopt(*fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
    (void)setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
    return EX_OK;
}

int submit(const char *run, const struct submission *s, struct error *error)
{
    struct session c = {.s = s, .fd = -1, .in = BUF_EMPTY(REPLY_MOST), .out = BUF_EMPTY(0), .server = "localhost", .error = error};
    int status = session_open(run, &c.fd, error);
    if (status == EX_OK)
        status = say_all(&c);
    if (c.fd >= 0)
        close(c.fd);
    buf_free(&c.in);
    buf_free(&c.out);
    return status;
}

/* ---- -bs ------------------------------------------------------------------------------------------------------------------------- */

static bool pass(int from, int to, bool *end)
{
    char bytes[16384];
    ssize_t n = read(from, bytes, sizeof bytes);
    if (n < 0 && errno == EINTR)
        return true;
    *end = n == 0;
    for (ssize_t at = 0; at < n;) {
        ssize_t m = write(to, bytes + at, (size_t)(n - at));
        if (m < 0 && errno != EINTR)
            return false;
        at += m > 0 ? m : 0;
    }
    return n >= 0;
}

int submit_relay(const char *run, struct error *error)
{
    int fd;
    bool end = false, input_ended = false;
    int status = place_connect(run, "submit", &fd, error);
    if (status != EX_OK)
        return status;
    while (!end) {
        struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = input_ended ? -1 : STDIN_FILENO, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (p[0].revents && !pass(fd, STDOUT_FILENO, &end))
            break;
        if (p[1].revents && !pass(STDIN_FILENO, fd, &input_ended))
            break;
        if (input_ended && p[1].revents)
            (void)shutdown(fd, SHUT_WR);
    }
    close(fd);
    if (end)
        return EX_OK;
    (void)error_set(error, "the conversation with the mail system broke: %s", strerror(errno));
    return EX_TEMPFAIL;
}
