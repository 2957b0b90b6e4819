#include "master/life.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/deaths.h"
#include "master/detach.h"
#include "master/edges.h"
#include "master/logs.h"
#include "master/status.h"
#include "master/reload.h"
#include "master/replace.h"
#include "master/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* ---- a generation comes up ----------------------------------------------------------------------------------------------------- */

static bool others_are_ready(uint32_t generation)
{
    for (const struct process *p = process_first(); p; p = p->next)
        if (p->generation == generation && !programs[p->program].last && p->state != PROCESS_READY)
            return false;
    return true;
}

static bool all_are_ready(uint32_t generation)
{
    for (const struct process *p = process_first(); p; p = p->next)
        if (p->generation == generation && p->state != PROCESS_READY)
            return false;
    return true;
}

/* The processes that clients meet come last: nobody is let in by a generation that does not come up. In a running system a lone one need
 * not wait. */
static void start_what_may(uint32_t generation)
{
    bool running = generation == master.current->generation && master.state != MASTER_STARTING;
    bool last_too = running || others_are_ready(generation);
    for (struct process *p = process_first(); p; p = p->next)
        if (p->generation == generation && p->state == PROCESS_STARTING && !p->start_sent && (last_too || !programs[p->program].last))
            process_start(p);
}

int life_launch_generation(const struct plan *plan, bool all, struct error *error)
{
    for (size_t i = 0; i < PROGRAM_COUNT; i++) {
        size_t n = all || !programs[i].stays ? program_processes((enum program_id)i, plan->settings) : 0;
        for (size_t k = 0; k < n; k++)
            process_new((enum program_id)i, (uint32_t)k, plan->generation);
    }
    for (struct process *p = process_first(); p; p = p->next)
        if (p->generation == plan->generation && p->state == PROCESS_DOWN && (all || !programs[p->program].stays) &&
            process_launch(p, plan, error) != 0)
            return -1;
    edges_wire();
    start_what_may(plan->generation);
    return 0;
}

static void tell_started(void)
{
    struct buf text = BUF_EMPTY(16384);
    buf_printf(&text, "ready as process %d: ", (int)getpid());
    listeners_describe(&master.current->listeners, &text);
    log_info("%s", buf_text(&text));
    if (!logs_on_stderr())
        fprintf(stderr, "postino-master: %s\n", buf_text(&text));
    status_tell(NOTIFY_EVENT_READY, "running");
    buf_free(&text);
    log_flush();
    detach_ready();
}

void life_ready(struct process *p)
{
    log_debug("%s is ready", process_name(p));
    start_what_may(p->generation);
    replace_ready(p);
    if (master.state == MASTER_STARTING && all_are_ready(master.current->generation)) {
        master.state = MASTER_RUNNING;
        tell_started();
        reload_pending();
    } else if (master.next && all_are_ready(master.next->generation)) {
        reload_commit();
    }
}

void life_progress(void)
{
    if (master.state == MASTER_STOPPING)
        stop_continue();
    else
        reload_continue();
    replace_continue();
}

void life_begin(void)
{
    struct error error;
    if (life_launch_generation(master.current, true, &error) == 0)
        return;
    log_error("%s", error.text);
    stop_failed(EX_OSERR, error.text);
}

/* ---- a process dies ------------------------------------------------------------------------------------------------------------ */

static void time_to_launch(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    if (master.state != MASTER_STOPPING)
        life_launch(arg);
}

static void launch_later(struct process *p, unsigned seconds)
{
    if (p->timer == NULL)
        p->timer = evtimer_new(master.base, time_to_launch, p);
    if (p->timer == NULL)
        log_die("out of memory for a timer");
    evtimer_add(p->timer, &(struct timeval){.tv_sec = seconds});
}

void life_launch(struct process *p)
{
    struct error error;
    if (process_launch(p, master.current, &error) != 0) {
        log_error("%s; trying again", error.text);
        launch_later(p, 1);
        return;
    }
    edges_wire();
    start_what_may(p->generation);
}

static void restart(struct process *p, const char *name, const char *words)
{
    p->quick_deaths = death_count(p->quick_deaths, clock_monotonic_ms() - p->launched);
    unsigned delay = death_delay(p->quick_deaths);
    process_down(p);
    life_progress();
    if (delay == 0) {
        log_error("%s %s; starting it anew", name, words);
        life_launch(p);
        return;
    }
    log_error("%s %s; the last %u lives of it were shorter than %d s, so it is started anew in %u s", name, words, p->quick_deaths,
              DEATH_QUICK_MS / 1000, delay / 1000);
    launch_later(p, delay / 1000);
    edges_wire();
}

static void drained(struct process *p, int status, const char *name, const char *words)
{
    if (status == 0)
        log_info("%s has finished", name);
    else
        log_warning("%s %s while it was finishing", name, words);
    process_free(p);
    life_progress();
}

/* Another is on its way already, to take its place. */
static void died_when_replaced(struct process *p, const char *name, const char *words)
{
    log_error("%s %s; the one that replaces it is being started", name, words);
    process_free(p);
    life_progress();
}

static void first_start_failed(struct process *p, int status, const char *name, const char *words)
{
    char text[512];
    snprintf(text, sizeof text, "%s %s before it was ready; its last line in the log (%s) says why", name, words,
             master.current->settings->log_to);
    log_error("%s", text);
    process_free(p);
    stop_failed(death_exit_status(status), text);
}

static void ended(struct process *p, int status, const char *name, const char *words)
{
    if (p->state == PROCESS_DRAINING || master.state == MASTER_STOPPING) {
        drained(p, status, name, words);
    } else if (master.next && p->generation == master.next->generation) {
        struct error why;
        error_set(&why, "%s %s before the new generation was complete", name, words);
        process_free(p);
        reload_failed(why.text);
    } else if (master.state == MASTER_STARTING && !p->was_ready) {
        first_start_failed(p, status, name, words);
    } else if (p->worn && replace_successor(p)) {
        died_when_replaced(p, name, words);
    } else {
        restart(p, name, words);
    }
}

void life_reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct process *p = process_of_pid(pid);
        struct buf words = BUF_EMPTY(1024), name = BUF_EMPTY(256);
        if (p == NULL)
            continue;
        buf_add_text(&name, process_name(p));
        if (p->killed_for && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
            buf_printf(&words, "killed by the master (%s)", p->killed_for);
        else
            death_words(status, &words);
        ended(p, status, buf_text(&name), buf_text(&words));
        buf_free(&words);
        buf_free(&name);
    }
}
