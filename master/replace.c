#include "master/replace.h"

#include "common/log.h"
#include "master/life.h"

#define BEYOND_SESSION 600 /* seconds: for the last message of the last session to be stored */

static bool same_place(const struct process *a, const struct process *b)
{
    return a->program == b->program && a->instance == b->instance;
}

static struct process *sibling(const struct process *of, bool worn)
{
    for (struct process *p = process_first(); p; p = p->next)
        if (p != of && same_place(p, of) && p->generation == of->generation && p->state != PROCESS_DRAINING && p->worn == worn)
            return p;
    return NULL;
}

struct process *replace_successor(const struct process *worn)
{
    return sibling(worn, false);
}

static unsigned finishing(const struct process *place)
{
    unsigned n = 0;
    for (const struct process *p = process_first(); p; p = p->next)
        n += p->state == PROCESS_DRAINING && same_place(p, place);
    return n;
}

static bool may_begin(const struct process *p)
{
    return p->worn && p->state == PROCESS_READY && p->generation == master.current->generation && !replace_successor(p) &&
           finishing(p) < REPLACED_MOST;
}

void replace_continue(void)
{
    if (master.state != MASTER_RUNNING)
        return;
    for (struct process *p = process_first(); p; p = p->next) {
        if (!may_begin(p))
            continue;
        log_debug("%s has served long enough; starting another", process_name(p));
        life_launch(process_new(p->program, p->instance, p->generation));
    }
}

static void too_long(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    process_kill(arg, "it was replaced, and its longest session should have ended");
}

static void set_deadline(struct process *p)
{
    if (p->timer)
        event_free(p->timer);
    p->timer = evtimer_new(master.base, too_long, p);
    if (p->timer == NULL)
        log_die("out of memory for a timer");
    evtimer_add(p->timer, &(struct timeval){.tv_sec = (time_t)master.current->settings->smtpd_session_time + BEYOND_SESSION});
}

void replace_ready(struct process *successor)
{
    struct process *worn = sibling(successor, true);
    if (worn == NULL || successor->worn)
        return;
    log_info("%s has served long enough: it finishes what it has, and another takes new clients", process_name(worn));
    process_drain(worn, 0);
    set_deadline(worn);
}
