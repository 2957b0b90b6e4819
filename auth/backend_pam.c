#include "auth/backend_pam.h"

#include "auth/pam_warden.h"
#include "common/clock.h"
#include "common/log.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct request {
    TAILQ_ENTRY(request) link;
    struct conversation *conversation; /* NULL: gone, and the answer is for nobody */
    bool sent;
    uint64_t client;
    uint64_t due; /* monotonic milliseconds, while it is not sent */
    struct pam_request text;
};

static struct {
    int warden;
    size_t most, under_way, waiting;
    uint64_t timeout;
    uint32_t last_id;
    TAILQ_HEAD(, request) requests;
} self = {.warden = -1};

static void free_request(struct request *r)
{
    TAILQ_REMOVE(&self.requests, r, link);
    if (r->sent)
        self.under_way--;
    else
        self.waiting--;
    if (r->conversation)
        r->conversation->own = NULL;
    explicit_bzero(r, sizeof *r);
    free(r);
}

static void end(struct request *r, enum auth_verdict verdict, const char *why)
{
    struct conversation *c = r->conversation;
    free_request(r);
    if (c)
        conversation_end(c, verdict, why);
}

/* The oldest go first. */
static void send_what_may_go(void)
{
    struct request *r;
    TAILQ_FOREACH(r, &self.requests, link)
    {
        if (self.under_way >= self.most)
            return;
        if (r->sent)
            continue;
        if (send(self.warden, &r->text, sizeof r->text, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof r->text)
            return;
        explicit_bzero(r->text.password, sizeof r->text.password);
        r->sent = true;
        self.under_way++;
        self.waiting--;
    }
}

static struct request *find(uint32_t id)
{
    struct request *r;
    TAILQ_FOREACH(r, &self.requests, link)
    if (r->sent && r->text.id == id)
        return r;
    return NULL;
}

static void take_answer(const struct pam_answer *answer)
{
    char why[64] = "";
    struct request *r = find(answer->id);
    enum auth_verdict verdict = answer->verdict == AUTH_YES ? AUTH_YES : answer->verdict == AUTH_NO ? AUTH_NO : AUTH_NOT_NOW;
    if (!r)
        return;
    if (verdict == AUTH_NOT_NOW && answer->code < 0)
        snprintf(why, sizeof why, "PAM took too long, or its process ended");
    else if (verdict == AUTH_NOT_NOW)
        snprintf(why, sizeof why, "PAM can't tell now: error %d of its modules", answer->code);
    end(r, verdict, why);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what, (void)arg;
    struct pam_answer answer;
    ssize_t n = recv((int)fd, &answer, sizeof answer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof answer)
        log_die("the process that asks PAM is gone; both are started anew");
    take_answer(&answer);
    send_what_may_go();
}

static bool offers(enum mechanism_kind kind)
{
    return kind == MECHANISM_PLAIN || kind == MECHANISM_LOGIN;
}

static void copy_text(char *to, size_t size, struct span text)
{
    size_t n = text.n < size ? text.n : 0;
    if (n)
        memcpy(to, text.p, n);
    to[n] = '\0';
}

static bool has_share(uint64_t client)
{
    const struct request *r;
    size_t n = 0;
    TAILQ_FOREACH(r, &self.requests, link)
    n += !r->sent && r->client == client;
    return n < BACKEND_PAM_SHARE;
}

static void check(struct conversation *c, struct span password)
{
    struct request *r = NULL;
    if (memchr(password.p, '\0', password.n)) {
        conversation_end(c, AUTH_NO, "");
        return;
    }
    if (self.waiting < BACKEND_PAM_LINE && has_share(c->client_key))
        r = calloc(1, sizeof *r);
    if (!r) {
        conversation_end(c, AUTH_NOT_NOW,
                         "too many wait for PAM, or too many of its address; raise auth { pam_checks }, or see why its modules are slow");
        return;
    }
    r->conversation = c;
    r->client = c->client_key;
    r->due = clock_monotonic_ms() + self.timeout;
    r->text.id = ++self.last_id;
    copy_text(r->text.user, sizeof r->text.user, buf_span(&c->user));
    copy_text(r->text.password, sizeof r->text.password, password);
    copy_text(r->text.client, sizeof r->text.client, buf_span(&c->client));
    c->own = r;
    TAILQ_INSERT_TAIL(&self.requests, r, link);
    self.waiting++;
    send_what_may_go();
}

/* What is under way with PAM stays counted until it is over. */
static void gone(struct conversation *c)
{
    struct request *r = c->own;
    if (!r)
        return;
    c->own = NULL;
    r->conversation = NULL;
    if (!r->sent)
        free_request(r);
}

static void tick(void)
{
    struct request *r, *next;
    uint64_t now = clock_monotonic_ms();
    for (r = TAILQ_FIRST(&self.requests); r; r = next) {
        next = TAILQ_NEXT(r, link);
        if (!r->sent && r->due <= now)
            end(r, AUTH_NOT_NOW, "PAM is too slow for as many as wait; raise auth { pam_checks }");
    }
    send_what_may_go();
}

int backend_pam_prepare(const struct settings *settings, struct error *error)
{
    self.warden = pam_warden_start(settings->auth_pam_service, settings->auth_pam_checks, (unsigned)settings->auth_timeout, error);
    return self.warden < 0 ? -1 : 0;
}

const struct backend *backend_pam(struct event_base *base, const struct settings *settings)
{
    static const struct backend pam = {.offers = offers, .check = check, .tick = tick, .gone = gone};
    self.most = settings->auth_pam_checks;
    self.timeout = settings->auth_timeout * 1000;
    TAILQ_INIT(&self.requests);
    struct event *event = event_new(base, self.warden, EV_READ | EV_PERSIST, on_readable, NULL);
    if (!event || event_add(event, NULL) != 0)
        log_die("out of memory at start");
    return &pam;
}
