/* What a receiver said about how much it wants: from a RESULT to the scheduler's brakes, and to the log, in which each change has a line. */
#include "qmgr/memory.h"
#include "qmgr/queue.h"
#include "qmgr/reply_rules.h"

static void add_amount(const struct schedule_brake *b, struct buf *line)
{
    if (b->paused)
        buf_add_text(line, " to=nothing");
    else
        buf_printf(line, " to=%u/min sessions=%u", b->a_minute, b->sessions);
}

static void log_change(const struct schedule_brake *b, enum log_level level, const char *word, struct span reply)
{
    uint64_t now = queue_now();
    struct buf line = BUF_EMPTY(4096);
    buf_printf(&line, "%s:", word);
    log_value(&line, "site", b->who);
    log_value(&line, "rule", b->why);
    if (b->on) {
        add_amount(b, &line);
        buf_printf(&line, " for=%llus", (unsigned long long)(b->until > now ? b->until - now : 0));
    }
    if (reply.n > 0)
        log_value(&line, "reply", reply);
    log_buf(level, &line);
    buf_free(&line);
}

static void told(const struct schedule_brake *b, enum brake_event event)
{
    static const char *const words[] = {
        [BRAKE_RESUMED] = "goes on slowly", [BRAKE_EASED] = "goes faster", [BRAKE_RELEASED] = "no longer slowed down"};
    if (event != BRAKE_NOTHING)
        log_change(b, LOG_LEVEL_INFO, words[event], (struct span){0});
}

void shaping_start(void)
{
    schedule_tell(queue.schedule, told);
}

bool shaping_heard(const struct delivery *d, const struct message_result *r)
{
    struct site *site = d->job.site;
    const struct settings_reply *rule = reply_rules_find(queue.settings, schedule_site_name(site), r->said, r->said_at);
    if (!rule)
        return false;
    struct schedule_slowing how = {.pause = rule->action == REPLY_PAUSE,
                                   .all = reply_rules_is_about_all(r->said, r->said_at),
                                   .step = (uint32_t)rule->time,
                                   .granted = d->since,
                                   .why = span_of(rule->title)};
    enum schedule_slowed slowed = schedule_slow(queue.schedule, site, &how, queue_now());
    if (slowed == SCHEDULE_SLOWED_NOT)
        return true;
    struct schedule_brake b = schedule_slow_view(site, slowed);
    log_change(&b, LOG_LEVEL_WARNING, how.pause ? "paused" : "slowed down", r->said);
    return true;
}
