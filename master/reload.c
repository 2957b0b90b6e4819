#include "master/reload.h"

#include "common/log.h"
#include "conf/parse.h"
#include "master/edges.h"
#include "master/life.h"
#include "master/logs.h"
#include "master/replace.h"
#include "master/status.h"

#include <stdio.h>
#include <stdlib.h>

#define READY_SECONDS 60 /* for the new generation to be complete */

static bool again; /* SIGHUP came while we were at it */
static struct event *deadline;
static uint32_t last_generation;

/* ---- what is refused ----------------------------------------------------------------------------------------------------------- */

static void refuse(const char *why)
{
    char status[600];
    log_error("reload refused, the former configuration stays: %s", why);
    snprintf(status, sizeof status, "running; reload refused: %s", why);
    status_tell(NOTIFY_EVENT_READY, status);
}

static void log_lines(enum log_level level, struct buf *lines)
{
    const char *p = buf_text(lines);
    while (*p) {
        size_t n = strcspn(p, "\n");
        log_line(level, "%.*s", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

static struct settings *parse(void)
{
    struct report report = {0};
    struct settings *settings = parse_file(master.file, PARSE_HOST, &report);
    log_lines(LOG_LEVEL_WARNING, &report.warnings);
    log_lines(LOG_LEVEL_ERROR, &report.errors);
    if (settings == NULL) {
        struct error why;
        error_set(&why, "%s has %zu error%s", master.file, report.error_count, report.error_count == 1 ? "" : "s");
        refuse(why.text);
    }
    report_free(&report);
    return settings;
}

/* Who runs and where the queue is can't change under running programs. */
static int check_lasting(const struct settings *old, const struct settings *new, struct error *error)
{
    const struct {
        const char *name, *old, *new;
    } lasting[] = {
        {"users", old->users, new->users},
        {"directory.spool", old->directory_spool, new->directory_spool},
        {"directory.dns", old->directory_dns, new->directory_dns},
        {"directory.sts", old->directory_sts, new->directory_sts},
        {"directory.creds", old->directory_creds, new->directory_creds},
        {"directory.run", old->directory_run, new->directory_run},
        {"directory.empty", old->directory_empty, new->directory_empty},
        {"directory.programs", old->directory_programs, new->directory_programs},
    };
    for (size_t i = 0; i < sizeof lasting / sizeof *lasting; i++)
        if (strcmp(lasting[i].old, lasting[i].new) != 0)
            return error_set(error, "%s: a change of %s (from \"%s\" to \"%s\") needs a restart: postino stop, then postino start",
                             master.file, lasting[i].name, lasting[i].old, lasting[i].new);
    return 0;
}

/* ---- the way to a new generation ----------------------------------------------------------------------------------------------- */

static void over(const char *status)
{
    evtimer_del(deadline);
    master.state = MASTER_RUNNING;
    status_tell(NOTIFY_EVENT_READY, status);
    reload_pending();
    replace_continue();
}

static void serves(void)
{
    struct buf text = BUF_EMPTY(16384);
    listeners_describe(&master.current->listeners, &text);
    log_info("reloaded: generation %u serves %s; the former one finishes what it has", master.current->generation, buf_text(&text));
    buf_free(&text);
    over("running; reloaded");
}

static void too_long(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (master.next)
        reload_failed("the new generation was not ready in 60 s");
    else if (master.state == MASTER_RELOADING)
        serves();
}

static void set_deadline(void)
{
    if (deadline == NULL)
        deadline = evtimer_new(master.base, too_long, NULL);
    if (deadline == NULL)
        log_die("out of memory for a timer");
    evtimer_add(deadline, &(struct timeval){.tv_sec = READY_SECONDS});
}

static void logs_to_all(void)
{
    for (struct process *p = process_first(); p; p = p->next)
        process_send_log(p);
}

static struct plan *prepare(struct settings *settings, struct error *error)
{
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        log_die("out of memory for a configuration");
    if (last_generation < master.current->generation)
        last_generation = master.current->generation;
    *plan = (struct plan){.generation = ++last_generation, .settings = settings};
    if (check_lasting(master.current->settings, settings, error) == 0 &&
        listeners_open(&plan->listeners, settings, &master.current->listeners, master.unprivileged, error) == 0 &&
        logs_open(settings, master.foreground, error) == 0)
        return plan;
    plan_free(plan);
    return NULL;
}

void reload_begin(void)
{
    struct error error;
    if (master.state == MASTER_RELOADING || master.state == MASTER_STARTING)
        again = true;
    if (master.state != MASTER_RUNNING)
        return;
    status_tell(NOTIFY_EVENT_RELOADING, "reloading");
    struct settings *settings = parse();
    struct plan *plan = settings ? prepare(settings, &error) : NULL;
    if (plan == NULL) {
        if (settings)
            refuse(error.text);
        return;
    }
    log_info("reloading %s: starting generation %u", master.file, plan->generation);
    master.state = MASTER_RELOADING;
    master.next = plan;
    set_deadline();
    logs_to_all();
    if (life_launch_generation(plan, false, &error) != 0)
        reload_failed(error.text);
}

void reload_pending(void)
{
    if (!again)
        return;
    again = false;
    reload_begin();
}

/* Ends all of a generation but what stays: what is not there yet is forgotten. */
static void end_others(uint32_t staying)
{
    struct process *next;
    for (struct process *p = process_first(); p; p = next) {
        next = p->next;
        if (p->generation == staying || p->state == PROCESS_DRAINING)
            continue;
        if (p->state == PROCESS_DOWN)
            process_free(p);
        else
            process_drain(p, 0);
    }
}

void reload_commit(void)
{
    struct plan *former = master.current;
    master.current = master.next;
    master.next = NULL;
    for (struct process *p = process_first(); p; p = p->next) {
        if (p->generation != former->generation || !programs[p->program].stays)
            continue;
        p->generation = master.current->generation;
        process_send_config(p, master.current);
    }
    edges_wire();
    end_others(master.current->generation);
    listeners_remove_sockets(&former->listeners, &master.current->listeners);
    plan_free(former);
    set_deadline();
    reload_continue();
}

/* Both generations have the same listening sockets: until the old ones have let go of them, the kernel may give them a client. */
static bool former_serves(void)
{
    for (const struct process *p = process_first(); p; p = p->next) {
        if (p->configuring)
            return true;
        if (p->generation != master.current->generation && programs[p->program].last && p->state == PROCESS_DRAINING && !p->quiet)
            return true;
    }
    return false;
}

void reload_continue(void)
{
    if (master.state == MASTER_RELOADING && !master.next && !former_serves())
        serves();
}

void reload_failed(const char *why)
{
    struct plan *plan = master.next;
    struct error error;
    log_error("reload failed, the former configuration stays: %s", why);
    master.next = NULL;
    edges_wire(); /* what was let in meanwhile is finished with the help of the current generation */
    end_others(master.current->generation);
    plan_free(plan);
    if (logs_open(master.current->settings, master.foreground, &error) == 0)
        logs_to_all();
    else
        log_error("%s", error.text);
    struct error status;
    error_set(&status, "running; reload failed: %.400s", why);
    over(status.text);
}

void reload_logs(void)
{
    struct error error;
    const struct plan *plan = master.next ? master.next : master.current;
    if (logs_open(plan->settings, master.foreground, &error) != 0) {
        log_error("the log stays as it is: %s", error.text);
        return;
    }
    logs_to_all();
}
