/* When a message is to be delivered, and how soon, as its sender asks for it at MAIL: FUTURERELEASE (RFC 4865), DELIVERBY (RFC 2852),
 * MT-PRIORITY (RFC 6710). Times are counted from MAIL on.
 *
 * The first two are for clients that we trust alone: what a stranger has returned goes to a sender that he made up, and he could have it
 * returned at will by a deadline that can't be kept. */
#include "smtpd/session_state.h"

#include "common/date.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

/* The next full second, so that nothing is released or over before its time. */
static uint64_t seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec + (t.tv_nsec > 0);
}

/* ---- what is offered ------------------------------------------------------------------------------------------------------------- */

static bool future_release_offered(const struct session *s)
{
    return settings_of(s)->smtpd_future_release > 0 && session_trusted(s);
}

static bool deliver_by_offered(const struct session *s)
{
    int who = settings_of(s)->smtpd_deliver_by;
    return who == OFFER_ALL || (who == OFFER_TRUSTED && session_trusted(s));
}

void session_ehlo_times(struct session *s, struct buf *before)
{
    char line[80], date[DATE_TEXT];
    if (future_release_offered(s)) {
        date_format(seconds_now() + settings_of(s)->smtpd_future_release, date);
        snprintf(line, sizeof line, "FUTURERELEASE %" PRIu64 " %s", settings_of(s)->smtpd_future_release, date);
        session_ehlo_line(s, before, line);
    }
    if (deliver_by_offered(s)) {
        snprintf(line, sizeof line, "DELIVERBY %" PRIu64, settings_of(s)->smtpd_deliver_by_least);
        session_ehlo_line(s, before, settings_of(s)->smtpd_deliver_by_least ? line : "DELIVERBY");
    }
    session_ehlo_line(s, before, "MT-PRIORITY");
}

/* ---- what is asked for ----------------------------------------------------------------------------------------------------------- */

static bool take_release(struct session *s, const struct command *c, uint64_t now, struct times *out)
{
    uint64_t most = settings_of(s)->smtpd_future_release;
    bool given = c->times.hold_for || c->times.hold_until;
    out->release = c->times.hold_for ? now + c->times.hold_for : c->times.hold_until;
    if (given && !future_release_offered(s))
        session_refuse(s, "MAIL", 555, "5.5.4", "HOLDFOR and HOLDUNTIL are not offered here");
    else if (c->times.hold_for && c->times.hold_until)
        session_refuse(s, "MAIL", 501, "5.5.4", "HOLDFOR and HOLDUNTIL can't go together");
    else if (given && out->release <= now)
        session_refuse(s, "MAIL", 501, "5.5.4", "the time of HOLDUNTIL is past");
    else if (given && out->release > now + most)
        session_refuse(s, "MAIL", 501, "5.5.4", "a message may be held for %" PRIu64 " seconds at most", most);
    else
        return true;
    return false;
}

static bool take_deadline(struct session *s, const struct command *c, uint64_t now, struct times *out)
{
    int64_t least = (int64_t)settings_of(s)->smtpd_deliver_by_least;
    out->by_mode = c->times.by_mode;
    out->deliver_by = out->by_mode ? (uint64_t)((int64_t)now + c->times.by_time) : 0;
    if (!out->by_mode)
        return true;
    if (!deliver_by_offered(s))
        session_refuse(s, "MAIL", 555, "5.5.4", "BY is not offered here");
    else if (out->by_mode & BY_RETURN && c->times.by_time < least)
        session_refuse(s, "MAIL", 555, "5.5.4", "BY with R must be %" PRId64 " seconds at least", least);
    else if (out->by_mode & BY_RETURN && out->deliver_by <= out->release)
        session_refuse(s, "MAIL", 501, "5.5.4", "BY would be over before the message is released");
    else
        return true;
    return false;
}

/* Of a listener for mail that can wait none is in a hurry. */
static int priority_most(const struct session *s)
{
    if (s->listener && s->listener->priority == LISTENER_PRIORITY_LOW)
        return -1;
    return session_trusted(s) ? (int)settings_of(s)->smtpd_mt_priority_most : 0;
}

static void take_priority(const struct session *s, const struct command *c, struct times *out)
{
    uint16_t most = (uint16_t)(MT_PRIORITY_ZERO + priority_most(s));
    out->lowered = c->times.mt_priority > most;
    out->mt_priority = out->lowered ? most : c->times.mt_priority;
}

bool session_times(struct session *s, const struct command *c, struct times *out)
{
    uint64_t now = seconds_now();
    *out = (struct times){0};
    take_priority(s, c, out);
    return take_release(s, c, now, out) && take_deadline(s, c, now, out);
}

/* RFC 6710: X.3.6, and the new priority in front of the words. */
void session_mail_ok(struct session *s)
{
    const struct times *t = &s->envelope.times;
    if (!t->lowered)
        session_reply(s, 250, "2.1.0", "Ok");
    else
        session_reply(s, 250, "2.3.6", "%d is its priority, and not what was asked for", (int)t->mt_priority - MT_PRIORITY_ZERO);
}
