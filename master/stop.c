#include "master/stop.h"

#include "common/log.h"
#include "master/detach.h"
#include "master/status.h"
#include "master/process.h"

#define BEYOND_GRACE   5
#define SETTLE_SECONDS 2 /* for qmgr to write down what came of the deliveries that it gave the grace to */

static enum stop_step step;
static uint32_t grace;
static struct event *deadline;

static bool belongs(const struct process *p)
{
    return programs[p->program].step == step;
}

static bool any_left(void)
{
    for (const struct process *p = process_first(); p; p = p->next)
        if (belongs(p))
            return true;
    return false;
}

static void kill_step(const char *why)
{
    for (struct process *p = process_first(); p; p = p->next)
        if (belongs(p))
            process_kill(p, why);
}

static void grace_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    kill_step("it did not end in time");
}

/* 0 would be: no bound. The rest only answers questions, and nobody is there any more to ask. */
static uint32_t step_seconds(void)
{
    if (step == STOP_QUEUE)
        return grace + SETTLE_SECONDS;
    return step == STOP_INTAKE && grace ? grace : 1;
}

static void begin_step(void)
{
    uint32_t seconds = step_seconds();
    for (struct process *p = process_first(); p; p = p->next)
        if (belongs(p))
            process_drain(p, seconds);
    evtimer_add(deadline, &(struct timeval){.tv_sec = seconds + BEYOND_GRACE});
}

void stop_continue(void)
{
    while (step != STOP_DONE && !any_left()) {
        step++;
        begin_step();
    }
    if (step == STOP_DONE)
        master.ended = true;
}

static void forget_down(void)
{
    struct process *next;
    for (struct process *p = process_first(); p; p = next) {
        next = p->next;
        if (p->state == PROCESS_DOWN)
            process_free(p);
    }
}

static void stop(uint32_t seconds)
{
    master.state = MASTER_STOPPING;
    grace = seconds;
    step = STOP_INTAKE;
    deadline = evtimer_new(master.base, grace_over, NULL);
    if (deadline == NULL)
        log_die("out of memory for a timer");
    forget_down();
    begin_step();
    stop_continue();
}

void stop_begin(const char *why)
{
    if (master.state == MASTER_STOPPING) {
        log_warning("%s again: not waiting any longer", why);
        grace = 0;
        kill_step("the stop was asked for twice");
        return;
    }
    log_info("%s: stopping", why);
    status_tell(NOTIFY_EVENT_STOPPING, "stopping");
    if (master.state == MASTER_STARTING)
        detach_failed(1, "stopped by a signal before it was up");
    stop((uint32_t)master.current->settings->stop_grace);
}

void stop_failed(int exit_status, const char *text)
{
    if (master.state == MASTER_STOPPING)
        return;
    master.exit_status = exit_status;
    detach_failed(exit_status, text);
    stop(0);
}
