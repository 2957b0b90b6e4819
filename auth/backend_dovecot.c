#include "auth/backend_dovecot.h"

#include "auth/dovecot_reply.h"
#include "auth/secret.h"
#include "common/base64.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MOST     ((size_t)32768)
#define QUESTION_MOST ((size_t)32768)
#define MAJOR         1

/* What waits to be sent. New questions end where there is still room for what goes on and for what is cancelled. */
#define OUT_MOST ((size_t)1 << 20)
#define OUT_GO   (OUT_MOST - ((size_t)128 << 10))
#define OUT_NEW  ((size_t)256 << 10)

/* One question, from AUTH to OK or FAIL. */
struct request {
    TAILQ_ENTRY(request) link;
    struct conversation *conversation;
    uint32_t id;
    uint64_t due; /* monotonic milliseconds; UINT64_MAX: it is the client's turn */
};

static struct {
    struct event_base *base;
    const struct settings *settings;
    struct event *event; /* NULL: down */
    int fd;
    uint64_t tried; /* monotonic milliseconds of the last connect() */
    bool complained;
    uint32_t last_id;
    unsigned offered, coming; /* bits of enum mechanism_kind: in use, and gathered until DONE */
    TAILQ_HEAD(, request) requests;
    char in[LINE_MOST];
    size_t in_size;
    struct event *writable; /* waited for while something is in `out` */
    uint64_t sent;          /* monotonic milliseconds: when something last went, or `out` was empty */
    char out[OUT_MOST];
    size_t out_size;
} self;

/* ---- requests -------------------------------------------------------------------------------------------------------------------- */

static void end(struct request *r, enum auth_verdict verdict, const char *why)
{
    struct conversation *c = r->conversation;
    TAILQ_REMOVE(&self.requests, r, link);
    c->own = NULL;
    free(r);
    conversation_end(c, verdict, why);
}

static struct request *find(uint32_t id)
{
    struct request *r;
    TAILQ_FOREACH(r, &self.requests, link)
    if (r->id == id)
        return r;
    return NULL;
}

static uint64_t due(void)
{
    return clock_monotonic_ms() + self.settings->auth_timeout * 1000;
}

/* ---- connection ------------------------------------------------------------------------------------------------------------------ */

static void complain(const char *what, const char *why)
{
    if (!self.complained)
        log_error("dovecot: %s: %s: %s; logins have to wait until it can be reached", self.settings->auth_dovecot_socket, what, why);
    self.complained = true;
}

static void hang_up(const char *what, const char *why)
{
    if (!self.event)
        return;
    complain(what, why);
    event_free(self.event);
    event_free(self.writable);
    close(self.fd);
    self.event = self.writable = NULL;
    self.in_size = 0;
    explicit_bzero(self.out, self.out_size);
    self.out_size = 0;
    struct request *r;
    while ((r = TAILQ_FIRST(&self.requests)))
        end(r, AUTH_NOT_NOW, "Dovecot hung up");
}

/* It may end all requests. */
static void send_out(void)
{
    ssize_t n = send(self.fd, self.out, self.out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        hang_up("send", strerror(errno));
        return;
    }
    if (n > 0) {
        memmove(self.out, self.out + n, self.out_size - (size_t)n);
        self.out_size -= (size_t)n;
        explicit_bzero(self.out + self.out_size, (size_t)n);
        self.sent = clock_monotonic_ms();
    }
    if (self.out_size)
        event_add(self.writable, NULL);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (self.out_size)
        send_out();
}

/* False: it waits for so much already that there is no room below `most`. If it is true, all requests may have ended. */
static bool tell(struct buf *text, size_t most)
{
    bool fits = self.event && !text->failed && self.out_size + text->len <= most;
    if (fits) {
        if (!self.out_size)
            self.sent = clock_monotonic_ms();
        memcpy(self.out + self.out_size, text->data, text->len);
        self.out_size += text->len;
    }
    secret_wipe(text);
    if (fits)
        send_out();
    return fits;
}

static void on_readable(evutil_socket_t fd, short what, void *arg);

static int open_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct span path = span_of(self.settings->auth_dovecot_socket);
    if (path.n >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path.p, path.n);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return -1;
}

static void greet(void)
{
    struct buf hello = BUF_EMPTY(256);
    buf_printf(&hello, "VERSION\t%d\t0\nCPID\t%ld\n", MAJOR, (long)getpid());
    self.coming = 0;
    (void)tell(&hello, OUT_MOST);
}

static void reach(void)
{
    uint64_t now = clock_monotonic_ms();
    if (self.event || (self.tried && now - self.tried < 1000))
        return;
    self.tried = now;
    self.fd = open_socket();
    if (self.fd < 0) {
        complain("connect", strerror(errno));
        return;
    }
    self.event = event_new(self.base, self.fd, EV_READ | EV_PERSIST, on_readable, NULL);
    self.writable = event_new(self.base, self.fd, EV_WRITE, on_writable, NULL);
    if (!self.event || !self.writable || event_add(self.event, NULL) != 0)
        log_die("out of memory for the connection to Dovecot");
    greet();
}

/* ---- what it says ---------------------------------------------------------------------------------------------------------------- */

static void take_mechanism(struct span name)
{
    static const struct {
        const char *name;
        unsigned bits;
    } table[] = {{"PLAIN", 1u << MECHANISM_PLAIN | 1u << MECHANISM_LOGIN},
                 {"SCRAM-SHA-256", 1u << MECHANISM_SCRAM},
                 {"OAUTHBEARER", 1u << MECHANISM_OAUTHBEARER},
                 {"XOAUTH2", 1u << MECHANISM_XOAUTH2}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (span_equal(name, span_of(table[i].name)))
            self.coming |= table[i].bits;
}

static void take_challenge(struct request *r, struct span base64)
{
    struct buf octets = BUF_EMPTY(LINE_MOST);
    enum mechanism_kind kind = r->conversation->mechanism->kind;
    if (kind == MECHANISM_PLAIN || kind == MECHANISM_LOGIN) { /* what the client says next would be another request */
        end(r, AUTH_NOT_NOW, "Dovecot sent a challenge where there is none");
    } else if (base64_decode(base64, &octets)) {
        r->due = UINT64_MAX;
        conversation_challenge(r->conversation, buf_span(&octets));
    } else {
        end(r, AUTH_NOT_NOW, "Dovecot sent a challenge that is not base64");
    }
    buf_free(&octets);
}

/* A name with an escape in it (NUL, tab, LF) is none that we hand on. */
static bool take_login(struct request *r, struct span user)
{
    struct buf *login = &r->conversation->login;
    bool plain = user.n && user.n <= NAME_MOST;
    for (size_t i = 0; plain && i < user.n; i++)
        plain = (unsigned char)user.p[i] >= ' ' && user.p[i] != 0x7f;
    buf_clear(login);
    if (plain)
        buf_add_span(login, user);
    return plain;
}

static void take_ok(struct request *r, struct span user)
{
    bool plain = take_login(r, user);
    end(r, plain ? AUTH_YES : AUTH_NOT_NOW, plain ? "" : "Dovecot said yes to a name that can't be");
}

static void take_fail(struct request *r, const struct dovecot_reply *reply)
{
    struct buf why = BUF_EMPTY(600);
    (void)take_login(r, reply->user);
    if (reply->temporary)
        buf_printf(&why, "Dovecot can't tell now: %.*s", reply->reason.n > 400 ? 400 : (int)reply->reason.n,
                   reply->reason.p ? reply->reason.p : "");
    end(r, reply->temporary ? AUTH_NOT_NOW : AUTH_NO, buf_text(&why));
    buf_free(&why);
}

static void take_answer(const struct dovecot_reply *reply)
{
    struct request *r = find(reply->id);
    if (!r)
        return; /* cancelled meanwhile */
    if (reply->kind == DOVECOT_CONTINUE)
        take_challenge(r, reply->data);
    else if (reply->kind == DOVECOT_OK)
        take_ok(r, reply->user);
    else
        take_fail(r, reply);
}

static void take_line(struct span line)
{
    struct dovecot_reply reply;
    dovecot_reply_parse(line, &reply);
    switch (reply.kind) {
    case DOVECOT_OTHER:
        break;
    case DOVECOT_BAD:
        hang_up("malformed line", "this is no authentication socket of Dovecot's (auth-client)");
        break;
    case DOVECOT_VERSION:
        if (reply.id != MAJOR)
            hang_up("version", "it speaks another version of the protocol than 1");
        break;
    case DOVECOT_MECHANISM:
        take_mechanism(reply.mechanism);
        break;
    case DOVECOT_DONE:
        self.offered = self.coming;
        if (self.complained)
            log_info("dovecot: %s: it can be reached again", self.settings->auth_dovecot_socket);
        self.complained = false;
        break;
    case DOVECOT_OK:
    case DOVECOT_FAIL:
    case DOVECOT_CONTINUE:
        take_answer(&reply);
        break;
    }
}

static void take_lines(void)
{
    size_t from = 0;
    const char *lf;
    while (self.event && (lf = memchr(self.in + from, '\n', self.in_size - from))) {
        size_t to = (size_t)(lf - self.in);
        take_line(span_make(self.in + from, to - from));
        from = to + 1;
    }
    if (!self.event)
        return;
    memmove(self.in, self.in + from, self.in_size - from);
    self.in_size -= from;
    if (self.in_size == sizeof self.in)
        hang_up("line", "longer than any that Dovecot sends");
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what, (void)arg;
    ssize_t n = recv((int)fd, self.in + self.in_size, sizeof self.in - self.in_size, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        hang_up("connection", n < 0 ? strerror(errno) : "Dovecot closed it");
        return;
    }
    self.in_size += (size_t)n;
    take_lines();
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

static bool offers(enum mechanism_kind kind)
{
    reach();
    return self.offered >> kind & 1;
}

static const char *mechanism_name(const struct conversation *c)
{
    return c->mechanism->kind == MECHANISM_LOGIN ? "PLAIN" : c->mechanism->name;
}

static void ask(struct conversation *c, struct span response)
{
    struct buf line = BUF_EMPTY(QUESTION_MOST);
    reach();
    struct request *r = self.event ? calloc(1, sizeof *r) : NULL;
    if (!r) {
        conversation_end(c, AUTH_NOT_NOW, self.event ? "out of memory" : "Dovecot can't be reached");
        return;
    }
    *r = (struct request){.conversation = c, .id = ++self.last_id, .due = due()};
    c->own = r;
    TAILQ_INSERT_TAIL(&self.requests, r, link);
    buf_reserve(&line, QUESTION_MOST); /* at once: growing would leave copies behind */
    buf_printf(&line, "AUTH\t%u\t%s\tservice=smtp\tsecured\trip=%.*s\tresp=", r->id, mechanism_name(c), SPAN_ARG(buf_span(&c->client)));
    base64_encode(response, &line);
    buf_add_char(&line, '\n');
    if (!tell(&line, OUT_NEW))
        end(r, AUTH_NOT_NOW, "Dovecot does not read as fast as logins come");
}

static void begin(struct conversation *c, struct span response)
{
    ask(c, response);
}

static void check(struct conversation *c, struct span password)
{
    struct buf plain = BUF_EMPTY(NAME_MOST + PASSWORD_MOST + 2);
    buf_reserve(&plain, plain.limit);
    buf_add_char(&plain, '\0');
    buf_add_span(&plain, buf_span(&c->user));
    buf_add_char(&plain, '\0');
    buf_add_span(&plain, password);
    if (memchr(password.p, '\0', password.n))
        conversation_end(c, AUTH_NO, "");
    else
        ask(c, buf_span(&plain));
    secret_wipe(&plain);
}

static void go_on(struct conversation *c, struct span response)
{
    struct request *r = c->own;
    struct buf line = BUF_EMPTY(QUESTION_MOST);
    r->due = due();
    buf_reserve(&line, QUESTION_MOST);
    buf_printf(&line, "CONT\t%u\t", r->id);
    base64_encode(response, &line);
    buf_add_char(&line, '\n');
    if (!tell(&line, OUT_GO))
        end(r, AUTH_NOT_NOW, "Dovecot does not read");
}

static void cancel(uint32_t id)
{
    struct buf line = BUF_EMPTY(64);
    buf_printf(&line, "CANCEL\t%u\n", id);
    if (!tell(&line, OUT_MOST))
        hang_up("send", "it does not read");
}

static void gone(struct conversation *c)
{
    struct request *r = c->own;
    if (!r)
        return;
    uint32_t id = r->id;
    TAILQ_REMOVE(&self.requests, r, link);
    c->own = NULL;
    free(r);
    cancel(id);
}

static void tick(void)
{
    uint64_t now = clock_monotonic_ms();
    struct request *r, *next;
    reach();
    if (self.event && self.out_size && now - self.sent > self.settings->auth_timeout * 1000)
        hang_up("send", "it does not read");
    for (r = TAILQ_FIRST(&self.requests); r; r = next) {
        next = TAILQ_NEXT(r, link);
        if (r->due > now)
            continue;
        uint32_t id = r->id;
        end(r, AUTH_NOT_NOW, "Dovecot took too long");
        cancel(id);
        next = TAILQ_FIRST(&self.requests); /* a connection that broke has ended others */
    }
}

const struct backend *backend_dovecot(struct event_base *base, const struct settings *settings)
{
    static const struct backend dovecot = {.offers = offers, .check = check, .begin = begin, .go_on = go_on, .tick = tick, .gone = gone};
    self.base = base;
    self.settings = settings;
    TAILQ_INIT(&self.requests);
    reach();
    return &dovecot;
}
