/* What a message needs of a host, found out before a word of it is said: whether it must be converted, whether the next host is the better one, and what is refused
 * without asking.
 *
 *   fit_needs_conversion --> fit_left: another host may take what this one can't --> fit_refused: it is too large, too late, or no host is left --> MAIL */
#include "delivery/session_internal.h"

#include "delivery/remote.h"

#include <inttypes.h>
#include <time.h>

#define BY_MOST ((int64_t)999999999)

/* Until the deadline; what is past by more than nine digits can say (RFC 2852 4) is just that. */
int64_t fit_time_left(const struct job *j)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t left = (int64_t)j->deliver_by - (int64_t)now.tv_sec - (now.tv_nsec > 0);
    return left < -BY_MOST ? -BY_MOST : left > BY_MOST ? BY_MOST : left;
}

/* ---- conversion ------------------------------------------------------------------------------------------------------------------ */

static bool takes_binary(const struct session *s)
{
    return offers(s, EXTENSION_CHUNKING) && offers(s, EXTENSION_BINARYMIME);
}

/* The host lacks what the message needs as it is. */
bool fit_needs_conversion(const struct session *s)
{
    if (s->job->binary)
        return !takes_binary(s);
    return s->job->has_8bit && !offers(s, EXTENSION_8BITMIME) && remote.settings->remote_eight_bit == EIGHT_BIT_CONVERT;
}

/* 8-bit mail that is no clean MIME goes as it is: all but very few hosts carry it, and returning it would help nobody. Octets of a binary
 * message can't. */
bool fit_converts(const struct job *j)
{
    return j->downgrade_verdict == DOWNGRADE_NEEDED || (j->binary && j->downgrade_verdict == DOWNGRADE_CLEAN);
}

/* RFC 2852 4.1.4: who wants his mail back at the deadline does not want it where nobody will see to that. True, and `words` say why. */
static bool deadline_refused(const struct session *s, struct buf *words)
{
    const struct job *j = s->job;
    if (!(j->by_mode & BY_RETURN))
        return false;
    if (fit_time_left(j) <= 0)
        buf_add_text(words, "its deadline (Deliver By) has passed");
    else if (!offers(s, EXTENSION_DELIVERBY) && !s->site->lmtp)
        buf_printf(words, "it has a deadline (Deliver By), and DELIVERBY was not offered by host %s", s->peer);
    else if (offers(s, EXTENSION_DELIVERBY) &&
             fit_time_left(j) < (int64_t)(s->extensions.by_least < (uint64_t)BY_MOST ? s->extensions.by_least : (uint64_t)BY_MOST))
        buf_printf(words, "%" PRId64 " seconds are left of its deadline (Deliver By), and host %s wants %" PRIu64, fit_time_left(j),
                   s->peer, s->extensions.by_least);
    return words->len > 0;
}

/* RFC 6531 3.2: it gets no address beyond ASCII, and no such header. A recipient in ASCII has no part in what another needs. */
static void say_lacks_utf8(const struct session *s, struct buf *words)
{
    buf_printf(words, "SMTPUTF8 is required, but was not offered by host %s", s->peer);
}

static bool lacks_binary(const struct session *s)
{
    return s->job->binary && fit_needs_conversion(s) && !fit_converts(s->job);
}

static void say_lacks_binary(const struct session *s, struct buf *words)
{
    buf_printf(words, "BINARYMIME is required, but was not offered by host %s, and the message is too broken to be converted", s->peer);
}

static bool all_lack_utf8(const struct session *s)
{
    for (size_t i = 0; i < s->job->count; i++)
        if (!s->job->recipients[i].verdict && !portion_lacks_utf8(s, i))
            return false;
    return true;
}

/* A host that can't take the message is left for the next one, which may; before that it gets it for the recipients that it can take. True: it was left. */
bool fit_left(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    bool utf8 = all_lack_utf8(s), unfit = session_has_next(s) && (utf8 || lacks_binary(s));
    if (utf8)
        say_lacks_utf8(s, &words);
    else
        say_lacks_binary(s, &words);
    if (unfit)
        session_unfit(s, utf8 ? "5.6.7" : "5.6.3", buf_span(&words));
    buf_free(&words);
    return unfit;
}

/* Not for good if a host before this one, which could not be had, may take it. */
static void refuse_utf8(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    say_lacks_utf8(s, &words);
    for (size_t i = 0; i < s->job->count; i++)
        if (portion_lacks_utf8(s, i))
            job_decide(s->job, i, s->hopeful ? VERDICT_DEFERRED : VERDICT_FAILED, s->hopeful ? "4.6.7" : "5.6.7", buf_span(&words));
    buf_free(&words);
}

/* What needs no server to be known. */
bool fit_refused(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    struct job *j = s->job;
    if (!session_has_next(s))
        refuse_utf8(s);
    if (lacks_binary(s)) {
        say_lacks_binary(s, &words);
        job_decide_rest(j, s->hopeful ? VERDICT_DEFERRED : VERDICT_FAILED, s->hopeful ? "4.6.3" : "5.6.3", buf_span(&words));
    } else if (s->extensions.size_limit && j->size > s->extensions.size_limit) {
        buf_printf(&words, "message size %" PRIu64 " exceeds size limit %" PRIu64 " of host %s", j->size, s->extensions.size_limit,
                   s->peer);
        job_decide_rest(j, VERDICT_FAILED, "5.3.4", buf_span(&words));
    } else if (deadline_refused(s, &words)) {
        job_decide_rest(j, VERDICT_FAILED, "5.4.7", buf_span(&words));
    }
    buf_free(&words);
    return j->undecided == 0;
}
