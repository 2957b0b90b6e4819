#include "qmgr/telling.h"

static const struct span nothing = {NULL, 0};

/* ---- what a host said -------------------------------------------------------------------------------------------- */

static bool is_reply(struct span s)
{
    return s.n >= 4 && (s.p[0] == '2' || s.p[0] == '4' || s.p[0] == '5') && s.p[1] >= '0' && s.p[1] <= '9' && s.p[2] >= '0' &&
           s.p[2] <= '9' && (s.p[3] == ' ' || s.p[3] == '-');
}

static const char *find(struct span s, const char *text)
{
    return s.n ? memmem(s.p, s.n, text, strlen(text)) : NULL;
}

static struct span from(struct span s, const char *p)
{
    return span_make(p, s.n - (size_t)(p - s.p));
}

static struct span up_to(struct span s, const char *p)
{
    return span_make(s.p, (size_t)(p - s.p));
}

/* "... host mx[192.0.2.1] said: 550 ..." (session_words(), delivery/session.c): where the reply begins, and where the words do that name the host end. */
static const char *said_in(struct span reason, const char **named)
{
    static const char *const words[] = {" said: ", " refused to talk to me: "};
    const char *begins = NULL;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *p = find(reason, words[i]);
        if (p && (!begins || p < *named)) {
            *named = p;
            begins = p + strlen(words[i]);
        }
    }
    return begins;
}

/* Behind the reply stands what it was to, in our words, and perhaps what the administrator can do: the last one is ours, whatever the host said. */
static const char *in_reply_to(struct span s)
{
    static const char words[] = " (in reply to ";
    const char *last = NULL;
    for (const char *p; (p = find(s, words)); s = from(s, p + 1))
        last = p;
    return last;
}

/* The reply and all that is behind it; empty: none. */
static struct span reply_and_rest(struct span reason)
{
    const char *named, *begins = said_in(reason, &named);
    struct span s = begins ? from(reason, begins) : reason;
    return is_reply(s) ? s : nothing;
}

struct span telling_reply(struct span reason)
{
    struct span s = reply_and_rest(reason);
    const char *p = in_reply_to(s);
    return p && memchr(p, ')', from(s, p).n) ? up_to(s, p) : s;
}

/* Without what stands behind "(in reply to RCPT TO command)". */
static struct span told_of_host(struct span reason)
{
    const char *p = in_reply_to(reply_and_rest(reason)), *end = p ? memchr(p, ')', from(reason, p).n) : NULL;
    return end ? up_to(reason, end + 1) : reason;
}

static struct span name_of(struct span peer)
{
    const char *p = peer.n > 1 ? memchr(peer.p + 1, '[', peer.n - 1) : NULL;
    return p ? up_to(peer, p) : peer;
}

/* "mx[192.0.2.1]:25", or what "host mx[192.0.2.1] said: " has. */
static struct span peer_of(const struct bounce_recipient *r)
{
    static const char host[] = "host ";
    const char *named = NULL, *begins = said_in(r->reason, &named);
    if (r->peer.n > 0 || !begins)
        return r->peer;
    struct span before = up_to(r->reason, named);
    const char *p = NULL;
    for (const char *next; (next = find(before, host)); before = from(before, next + 1))
        p = next;
    return p ? span_make(p + sizeof host - 1, (size_t)(named - p) - (sizeof host - 1)) : nothing;
}

/* "mail.example.com[/run/dovecot/lmtp]": a server of this host, and its path is nobody's business. */
static bool is_socket(struct span peer)
{
    return find(peer, "[/") != NULL;
}

struct span telling_host(const struct bounce_recipient *r)
{
    return name_of(peer_of(r));
}

static void say_what_host_said(const struct bounce_recipient *r, struct buf *out)
{
    if (is_socket(peer_of(r))) {
        buf_add_span(out, telling_reply(r->reason));
        return;
    }
    if (r->peer.n > 0 && is_reply(r->reason)) { /* else the words say by themselves who said it */
        buf_add_text(out, "host ");
        buf_add_span(out, r->peer);
        buf_add_text(out, " said: ");
    }
    buf_add_span(out, told_of_host(r->reason));
}

/* ---- our own words ----------------------------------------------------------------------------------------------- */

static bool is_detail(struct span status, const char *subject_detail)
{
    return status.n > 2 && span_equal(span_make(status.p + 2, status.n - 2), span_of(subject_detail));
}

static bool is_for_sender(const struct bounce_recipient *r)
{
    struct span s = r->status;
    switch (s.n > 2 ? s.p[2] : '3') {
    case '0':
    case '1':
    case '6':
        return true;
    case '3':
        return is_detail(s, "3.4"); /* its size */
    case '4':
        return r->by_domain || is_detail(s, "4.7"); /* its deadline */
    case '5':
        return r->by_domain;
    case '7':
        return is_detail(s, "7.10") || is_detail(s, "7.30"); /* REQUIRETLS */
    default:
        return false;
    }
}

static void say_in_general(const struct bounce *b, struct span status, struct buf *out)
{
    char subject = '3';
    if (status.n > 2)
        subject = status.p[2];
    if (subject == '2') {
        buf_add_text(out, "its mailbox had no room for it");
    } else if (subject == '4') {
        buf_add_text(out, "the next host could not be reached");
    } else if (subject == '5') {
        buf_add_text(out, "the next host did not keep to the protocol");
    } else if (is_detail(status, "7.4") || is_detail(status, "7.5")) {
        buf_add_text(out, "no connection to the next host was as secure as it has to be");
    } else {
        buf_add_span(out, b->hostname);
        buf_add_text(out, " could not deliver it; its postmaster can see why in its log");
    }
}

static void say_why(const struct bounce *b, const struct bounce_recipient *r, struct buf *out)
{
    if (telling_reply(r->reason).n > 0)
        say_what_host_said(r, out);
    else if (r->reason.n == 0)
        buf_add_text(out, "it could not be tried yet");
    else if (b->kind == BOUNCE_SUCCESS || is_for_sender(r))
        buf_add_span(out, r->reason);
    else
        say_in_general(b, r->status, out);
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

struct span telling_status(const struct bounce *b, const struct bounce_recipient *r)
{
    static const struct span late = SPAN_LITERAL("5.4.7"), expired = SPAN_LITERAL("4.4.7");
    if (r->over == OVER_NOT)
        return r->status.n > 0 ? r->status : SPAN_LITERAL("4.0.0");
    return r->over == OVER_DEADLINE && b->kind == BOUNCE_FAILURE ? late : expired;
}

void telling_words(const struct bounce *b, const struct bounce_recipient *r, struct buf *out)
{
    if (b->kind == BOUNCE_FAILURE && r->over == OVER_EXPIRED)
        buf_printf(out, "delivery time expired after %u attempts; the last said: ", r->attempts);
    else if (b->kind == BOUNCE_FAILURE && r->over == OVER_DEADLINE)
        buf_add_text(out, "not delivered in the time that its sender gave it (Deliver By); the last said: ");
    say_why(b, r, out);
}
