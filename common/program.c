#include "common/program.h"

#include "common/log.h"
#ifdef POSTINO_TRY
#include "common/try.h"
#endif

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#ifdef POSTINO_SANITIZER
#include <sanitizer/lsan_interface.h>

/* libdb finds its pages by offsets, which LeakSanitizer takes for no pointers: those of a map that is open at the end look lost. A map that nobody
 * has any more is still seen by its struct, and unit tests have no such exception. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libdb-5.3.so";
}
#endif

#define CONTROL_FD 3

/* An edge that came before START. What its other end says waits in it until we are in the sandbox. */
struct early_peer {
    struct early_peer *next;
    char role[32];
    uint32_t instance;
    int fd;
};

static struct {
    const struct program *program;
    struct early_peer *early, **early_end;
    struct event_base *base;
    struct channel *control;
    struct settings *settings;
    char log_name[32];
    struct event *deadline;
    uint64_t now_us; /* 0: not read in this turn */
    uint32_t instance, drain_seconds;
    int status;
    bool unprivileged, draining, started, ending;
} self;

struct event_base *program_base(void)
{
    return self.base;
}

bool program_unprivileged(void)
{
    return self.unprivileged;
}

bool program_draining(void)
{
    return self.draining;
}

uint32_t program_drain_seconds(void)
{
    return self.drain_seconds;
}

void program_end(void)
{
    self.ending = true;
}

/* Read by the first who asks in a turn. */
uint64_t program_now_us(void)
{
    if (self.now_us == 0) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        self.now_us = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
    }
    return self.now_us;
}

uint64_t program_now(void)
{
    return program_now_us() / 1000000;
}

void program_replace(void)
{
    channel_send(self.control, &(struct message){.type = MESSAGE_REPLACE, .fd = -1, .replace = {.instance = self.instance}});
}

static void fail(int status, const char *what, const char *why)
{
    log_error("%s: %s", what, why);
    log_flush();
    self.status = status;
    self.ending = true;
}

/* ---- control messages ---------------------------------------------------------------------------------------------------------- */

/* A process has one configuration in its life, unless it says that it can change its mind. */
static void take_config(const struct message_config *m)
{
    struct error error;
    if (self.settings && !self.program->reconfigure)
        return;
    struct settings *settings = settings_decode(m->slice, &error);
    if (settings == NULL) {
        fail(EX_CONFIG, "configuration from the master", error.text);
        return;
    }
    struct settings *former = self.settings;
    self.settings = settings;
    self.instance = m->instance;
    if (former && self.started) {
        self.program->reconfigure(settings);
        log_info("configuration taken over");
        channel_send(self.control, &(struct message){.type = MESSAGE_CONFIGURED, .fd = -1, .configured = {.instance = self.instance}});
    }
    if (former)
        settings_free(former);
}

static void take_listener(const struct message *m)
{
    struct buf name = BUF_EMPTY(256);
    buf_add_span(&name, m->listener.name);
    if (self.program->listener)
        self.program->listener(buf_text(&name), span_equal(m->listener.kind, SPAN_LITERAL("unix")), m->fd);
    else
        close(m->fd);
    buf_free(&name);
}

static void hand_over_peer(const struct early_peer *e)
{
    if (self.program->peer)
        self.program->peer(e->role, e->instance, e->fd);
    else
        close(e->fd);
}

static void take_peer(const struct message *m)
{
    struct early_peer e = {.instance = m->peer.instance, .fd = m->fd};
    snprintf(e.role, sizeof e.role, "%.*s", SPAN_ARG(m->peer.role));
    if (self.started) {
        hand_over_peer(&e);
        return;
    }
    struct early_peer *kept = malloc(sizeof *kept);
    if (kept == NULL)
        log_die("out of memory for an edge");
    *kept = e;
    *self.early_end = kept;
    self.early_end = &kept->next;
}

static void hand_over_early_peers(void)
{
    for (struct early_peer *e; (e = self.early);) {
        self.early = e->next;
        hand_over_peer(e);
        free(e);
    }
    self.early_end = &self.early;
}

static void deadline_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    log_warning("not done in the time that was given for it; ending now");
    self.ending = true;
}

static void take_drain(uint32_t seconds)
{
    if (seconds) {
        if (self.deadline == NULL)
            self.deadline = evtimer_new(self.base, deadline_over, NULL);
        evtimer_add(self.deadline, &(struct timeval){.tv_sec = seconds});
    }
    bool bounded_now = seconds && !self.drain_seconds; /* a stop overtakes a reload */
    if (self.draining && !bounded_now)
        return;
    self.draining = true;
    self.drain_seconds = seconds;
    if (self.program->drain)
        self.program->drain();
    else
        self.ending = true;
    channel_send(self.control, &(struct message){.type = MESSAGE_DRAINING, .fd = -1, .draining = {.instance = self.instance}});
}

static void start(void)
{
    struct sandbox sandbox = {.landlock = true, .open_files = 256};
    struct error error;
    const struct program *p = self.program;
    if (self.settings == NULL) {
        fail(EX_SOFTWARE, "start", "the master sent no configuration");
        return;
    }
    if (p->prepare && p->prepare(self.settings, &error) != 0) {
        fail(EX_CONFIG, "start", error.text);
        return;
    }
    p->sandbox(self.settings, &sandbox);
    if (!self.unprivileged && sandbox_user(self.settings->users, p->name, &sandbox.uid, &sandbox.gid, &error) != 0) {
        fail(EX_NOUSER, "start", error.text);
        return;
    }
    if (sandbox_enter(&sandbox, self.unprivileged, &error) != 0) {
        fail(EX_OSERR, "sandbox", error.text);
        return;
    }
#ifdef POSTINO_TRY
    try_forbidden(p->name);
#endif
    hand_over_early_peers();
    if (p->start && p->start(self.settings, &error) != 0) {
        fail(EX_CONFIG, "start", error.text);
        return;
    }
    self.started = true;
    channel_send(self.control, &(struct message){.type = MESSAGE_READY, .fd = -1, .ready = {.instance = self.instance}});
}

static void control_message(struct channel *c, const struct message *m, void *arg)
{
    (void)c, (void)arg;
    switch (m->type) {
    case MESSAGE_CONFIG:
        take_config(&m->config);
        break;
    case MESSAGE_LOG:
        log_open(self.log_name, m->fd, (enum log_kind)m->log.kind, (enum log_level)m->log.level);
        break;
    case MESSAGE_LISTENER:
        take_listener(m);
        break;
    case MESSAGE_PEER:
        take_peer(m);
        break;
    case MESSAGE_START:
        self.unprivileged = m->start.unprivileged != 0;
        if (!self.started)
            start();
        break;
    case MESSAGE_DRAIN:
        take_drain(m->drain.seconds);
        break;
    default:
        break;
    }
}

/* Without a master nobody would end us, or start what we need. */
static void control_closed(struct channel *c, void *arg)
{
    (void)c, (void)arg;
    if (!self.ending)
        fail(EX_TEMPFAIL, "master", "it is gone; ending");
}

/* ---- main ---------------------------------------------------------------------------------------------------------------------- */

static void run(void)
{
    while (!self.ending) {
        self.now_us = 0;
        event_base_loop(self.base, EVLOOP_ONCE);
        if (self.started && self.program->turn)
            self.program->turn();
        channels_flush();
        log_flush();
    }
}

static void make_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        log_die("out of memory for the event loop");
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    self.base = event_base_new_with_config(config);
    event_config_free(config);
    if (self.base == NULL)
        log_die("the event loop can't be made: %s", strerror(errno));
}

/* A program that is woken does not push aside who runs just now: it finds more to do when its turn comes, and does it in one go. What an
 * administrator chose (chrt) stays. */
static void wake_patiently(void)
{
    if (sched_getscheduler(0) == SCHED_OTHER && sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){.sched_priority = 0}) != 0)
        log_warning("the batch scheduling policy can't be had: %s", strerror(errno));
}

int program_main(const struct program *program, int argc, char **argv)
{
    static const struct channel_handler handler = {.message = control_message, .closed = control_closed, .keeps_room = true};
    (void)argc;
    int type;
    socklen_t size = sizeof(type);
    if (getsockopt(CONTROL_FD, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
        fprintf(stderr, "%s: this program is started by postino-master; use postino start\n", argv[0]);
        return EX_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* who writes beyond a limit is told so (EFBIG), and lives */
    signal(SIGINT, SIG_IGN);  /* a terminal's interrupt goes to the whole group; the master tells us what to do */
    signal(SIGHUP, SIG_IGN);
    tzset();
    self.program = program;
    self.early_end = &self.early;
    snprintf(self.log_name, sizeof self.log_name, "postino-%s", program->name);
    log_open(self.log_name, dup(STDERR_FILENO), LOG_TO_STDERR, LOG_LEVEL_INFO);
    wake_patiently();
    make_base();
    self.control = channel_new(self.base, CONTROL_FD, "master", 1u << PROTOCOL_CONTROL, SIDE_SERVER, &handler, NULL);
    run();
    channels_flush();
    log_flush();
    return self.status;
}
