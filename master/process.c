#include "master/process.h"

#include "common/clock.h"
#include "common/log.h"
#include "master/life.h"
#include "master/logs.h"
#include "master/replace.h"
#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HANGUP_US 200000 /* a process that closed its control channel has so long to end */

static struct process *processes;
static uint32_t last_serial;

static void forget_hangup(struct process *);

struct process *process_first(void)
{
    return processes;
}

struct process *process_of_pid(pid_t pid)
{
    struct process *p = processes;
    while (p && p->pid != pid)
        p = p->next;
    return p;
}

const char *process_name(const struct process *p)
{
    static char text[80];
    int n = snprintf(text, sizeof text, "postino-%s", programs[p->program].name);
    if (programs[p->program].many)
        n += snprintf(text + n, sizeof text - (size_t)n, " %u", p->instance);
    if (p->pid)
        snprintf(text + n, sizeof text - (size_t)n, " (process %d)", (int)p->pid);
    return text;
}

struct process *process_new(enum program_id program, uint32_t instance, uint32_t generation)
{
    struct process *p = calloc(1, sizeof *p), **end = &processes;
    if (p == NULL)
        log_die("out of memory for a process");
    *p = (struct process){.program = program, .instance = instance, .generation = generation, .serial = ++last_serial};
    while (*end)
        end = &(*end)->next;
    *end = p;
    return p;
}

static void free_held(struct process *p, uint32_t serial /* 0: all */)
{
    for (struct held_peer **at = &p->held; *at;) {
        struct held_peer *h = *at;
        if (serial && h->serial != serial) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        close(h->fd);
        free(h);
    }
}

void process_drop_held(const struct process *dead)
{
    for (struct process *p = processes; p; p = p->next)
        free_held(p, dead->serial);
}

void process_free(struct process *p)
{
    struct process **at = &processes;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    process_drop_held(p);
    free_held(p, 0);
    channel_free(p->channel);
    forget_hangup(p);
    if (p->timer)
        event_free(p->timer);
    free(p);
}

void process_down(struct process *p)
{
    process_drop_held(p);
    channel_free(p->channel);
    forget_hangup(p);
    p->channel = NULL;
    p->pid = 0;
    p->state = PROCESS_DOWN;
    p->start_sent = p->configuring = p->worn = false;
    p->killed_for = NULL;
    p->serial = ++last_serial;
    memset(p->connected, 0, sizeof p->connected);
}

/* ---- what it says -------------------------------------------------------------------------------------------------------------- */

static void from_process(struct channel *c, const struct message *m, void *arg)
{
    struct process *p = arg;
    (void)c;
    if (p->state == PROCESS_DRAINING) {
        p->quiet |= m->type == MESSAGE_DRAINING; /* READY: it was told to drain on its way up */
        life_progress();
        return;
    }
    if (m->type == MESSAGE_CONFIGURED && p->configuring) {
        p->configuring = false;
        life_progress();
        return;
    }
    if (m->type == MESSAGE_REPLACE && p->state == PROCESS_READY && programs[p->program].many && !p->worn) {
        p->worn = true;
        replace_continue();
        return;
    }
    if (m->type != MESSAGE_READY || p->state != PROCESS_STARTING || !p->start_sent) {
        process_kill(p, "it sent a message that it may not send now");
        return;
    }
    p->state = PROCESS_READY;
    p->was_ready = true;
    life_ready(p);
}

static void still_there(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    process_kill(arg, "its control channel ended");
}

/* Most often it is ending, and waitpid will tell how in a moment. But it may have sent garbage, or have hung up on us though it lives. */
static void hung_up(struct channel *c, void *arg)
{
    struct process *p = arg;
    channel_free(c);
    p->channel = NULL;
    p->hangup = evtimer_new(master.base, still_there, p);
    if (p->hangup == NULL)
        log_die("out of memory for a timer");
    evtimer_add(p->hangup, &(struct timeval){.tv_usec = HANGUP_US});
}

static void forget_hangup(struct process *p)
{
    if (p->hangup)
        event_free(p->hangup);
    p->hangup = NULL;
}

/* ---- what it is told ----------------------------------------------------------------------------------------------------------- */

void process_send_log(struct process *p)
{
    struct message m = logs_message();
    if (p->channel && m.fd >= 0)
        channel_send(p->channel, &m);
    else if (m.fd >= 0)
        close(m.fd);
}

void process_send_config(struct process *p, const struct plan *plan)
{
    struct buf slice = BUF_EMPTY(0);
    settings_encode(plan->settings, programs[p->program].letter, &slice);
    if (slice.failed)
        log_die("the configuration for %s is too large", process_name(p));
    if (p->channel)
        channel_send(p->channel,
                     &(struct message){.type = MESSAGE_CONFIG, .fd = -1, .config = {.instance = p->instance, .slice = buf_span(&slice)}});
    buf_free(&slice);
    p->configuring = p->state == PROCESS_READY;
}

static bool gets_listener(const struct program_row *row, const struct listener *l)
{
    return l->is_section ? row->inet : row->unix_name && strcmp(row->unix_name, l->name) == 0;
}

static void send_listeners(struct process *p, const struct listeners *all)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct listener *l = &all->v[i];
        if (!gets_listener(&programs[p->program], l))
            continue;
        int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            log_die("no descriptor for a listener: %s", strerror(errno));
        channel_send(p->channel, &(struct message){.type = MESSAGE_LISTENER,
                                                   .fd = fd,
                                                   .listener = {.name = span_of(l->name), .kind = span_of(l->is_unix ? "unix" : "inet")}});
    }
}

static void send_peer(struct process *p, enum program_id role, uint32_t instance, int fd)
{
    channel_send(p->channel,
                 &(struct message){.type = MESSAGE_PEER, .fd = fd, .peer = {.role = span_of(programs[role].name), .instance = instance}});
}

void process_send_peer(struct process *p, const struct process *other, int fd)
{
    if (p->state != PROCESS_DOWN) {
        if (p->channel)
            send_peer(p, other->program, other->instance, fd);
        else
            close(fd);
        return;
    }
    struct held_peer *h = malloc(sizeof *h), **end = &p->held;
    if (h == NULL)
        log_die("out of memory for an edge");
    *h = (struct held_peer){.role = other->program, .instance = other->instance, .serial = other->serial, .fd = fd};
    while (*end)
        end = &(*end)->next;
    *end = h;
}

static void send_held(struct process *p)
{
    while (p->held) {
        struct held_peer *h = p->held;
        p->held = h->next;
        send_peer(p, h->role, h->instance, h->fd);
        free(h);
    }
}

/* ---- up and down --------------------------------------------------------------------------------------------------------------- */

int process_launch(struct process *p, const struct plan *plan, struct error *error)
{
    static const struct channel_handler handler = {.message = from_process, .closed = hung_up};
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return error_set(error, "no socketpair for postino-%s: %s", programs[p->program].name, strerror(errno));
    pid_t pid = spawn(plan->settings->directory_programs, programs[p->program].name, pair[1], master.foreground, error);
    if (pid < 0) {
        close(pair[0]);
        return -1;
    }
    p->pid = pid;
    p->launched = clock_monotonic_ms();
    p->state = PROCESS_STARTING;
    p->channel = channel_new(master.base, pair[0], programs[p->program].name, 1u << PROTOCOL_CONTROL, SIDE_CLIENT, &handler, p);
    process_send_log(p);
    process_send_config(p, plan);
    send_listeners(p, &plan->listeners);
    send_held(p);
    return 0;
}

void process_start(struct process *p)
{
    p->start_sent = true;
    if (p->channel)
        channel_send(p->channel, &(struct message){.type = MESSAGE_START, .fd = -1, .start = {.unprivileged = master.unprivileged}});
}

void process_drain(struct process *p, uint32_t seconds)
{
    bool ready = p->state == PROCESS_READY || (p->state == PROCESS_DRAINING && p->was_ready);
    if (p->state == PROCESS_DOWN)
        return;
    p->state = PROCESS_DRAINING;
    if (!ready)
        process_kill(p, "it was not ready yet, and is not wanted any more");
    else if (p->channel)
        channel_send(p->channel, &(struct message){.type = MESSAGE_DRAIN, .fd = -1, .drain = {.seconds = seconds}});
}

void process_kill(struct process *p, const char *why)
{
    if (p->pid == 0)
        return;
    if (p->killed_for == NULL)
        p->killed_for = why;
    kill(p->pid, SIGKILL);
}
