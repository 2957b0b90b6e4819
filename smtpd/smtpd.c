/* postino-smtpd: takes mail in by SMTP. Listeners, edges to route, auth and qmgr, and the end of the program; sessions are in session.c. */
#include "common/log.h"
#include "common/program.h"
#include "common/stream.h"
#include "smtpd/session.h"
#include "smtpd/tls.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define OTHER_FILES    64 /* descriptors beside the sessions' and the listeners' */
#define ACCEPTS_A_TURN 16
#define ACCEPTS_LATE   64 /* by a process that has let others go first */
#define TLS_SECONDS    5  /* for tlsmgr, before the first client */
#define PAUSE_SECONDS  1  /* without accept(), when it failed for lack of something */

struct listener {
    struct listener *next;
    char *title;
    bool is_unix;
    int fd;
    bool behind; /* after a pause there were more than it took: others don't get them all, so there is no pause until the line is empty */
    struct event *event, *pause;
    const struct settings_listener *settings;
};

static struct server server;
static struct listener *listeners;
static bool tls_known; /* or waited for in vain */

static void tls_ready(void);

/* ---- listeners ------------------------------------------------------------------------------------------------------------------- */

static void take_listener(const char *name, bool is_unix, int fd)
{
    struct listener *l = calloc(1, sizeof *l);
    if (!l || !(l->title = strdup(name)) || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        log_die("listener %s: %s", name, strerror(errno));
    l->is_unix = is_unix;
    l->fd = fd;
    l->next = listeners;
    listeners = l;
}

static void accept_local(const struct settings_listener *settings, int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) {
        log_warning("submit: who connected can't be told: %s", strerror(errno));
        close(fd);
        return;
    }
    if (!settings && sandbox_is_barred(peer.uid)) { /* submit */
        log_error("submit: uid %u, a program of Postino's that has no mail to send, is not served; look into what became of it", peer.uid);
        close(fd);
        return;
    }
    session_accept_local(&server, settings, fd, peer.uid);
}

/* A listener without an event would be deaf, and nobody would know. */
static void await(struct listener *l, struct event *event, const struct timeval *time)
{
    if (event_add(event, time) < 0)
        log_die("listener %s: out of memory for its events", l->title);
}

static void pause_for(struct listener *l, unsigned ms)
{
    struct timeval time = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    event_del(l->event);
    await(l, l->pause, &time);
}

static void accept_failed(struct listener *l)
{
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return;
    log_error("listener %s: accept: %s; pausing for %d s", l->title, strerror(errno), PAUSE_SECONDS);
    pause_for(l, PAUSE_SECONDS * 1000);
}

/* True: there may be more. */
static bool take_connections(struct listener *l, int most)
{
    for (int i = 0; i < most; i++) {
        struct sockaddr_storage client = {0};
        socklen_t size = sizeof client;
        int fd = accept4(l->fd, (struct sockaddr *)&client, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            accept_failed(l);
            return false;
        }
        if (l->is_unix)
            accept_local(l->settings, fd);
        else
            session_accept(&server, l->settings, fd, (struct sockaddr *)&client);
    }
    return true;
}

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct listener *l = arg;
    unsigned ms = shed_gives_way(&server);
    if (ms > 0 && !l->behind)
        pause_for(l, ms);
    else
        l->behind = take_connections(l, ACCEPTS_A_TURN) && ms > 0;
}

static void pause_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct listener *l = arg;
    await(l, l->event, NULL);
    l->behind = take_connections(l, ACCEPTS_LATE);
}

static int open_listener(struct listener *l, const struct settings *settings, struct error *error)
{
    l->settings = settings_listener(settings, span_of(l->title));
    if (!l->settings && !(l->is_unix && strcmp(l->title, "submit") == 0))
        return error_set(error, "the master sent a listener \"%s\" that is not in the configuration", l->title);
    l->event = event_new(program_base(), l->fd, EV_READ | EV_PERSIST, on_connection, l);
    l->pause = evtimer_new(program_base(), pause_over, l);
    if (!l->event || !l->pause)
        return error_set(error, "listener \"%s\": out of memory", l->title);
    return 0;
}

static void accept_all(void)
{
    for (struct listener *l = listeners; l; l = l->next)
        await(l, l->event, NULL);
}

static void tls_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (!tls_known)
        log_error("postino-tlsmgr has not said its certificates in %d s; going on without TLS until then", TLS_SECONDS);
    tls_ready();
}

/* The first client finds TLS, if tlsmgr is well; if not, mail comes in all the same. */
static void tls_ready(void)
{
    if (!tls_known)
        accept_all();
    tls_known = true;
}

static int await_tls(struct error *error)
{
    tls_start(server.tls, program_base(), server.tlsmgr, tls_ready);
    if (event_base_once(program_base(), -1, EV_TIMEOUT, tls_late, NULL, &(struct timeval){.tv_sec = TLS_SECONDS}) != 0)
        return error_set(error, "out of memory for TLS");
    return 0;
}

static void close_listeners(void)
{
    while (listeners) {
        struct listener *l = listeners;
        listeners = l->next;
        event_free(l->event);
        event_free(l->pause);
        close(l->fd);
        free(l->title);
        free(l);
    }
}

/* ---- edges ----------------------------------------------------------------------------------------------------------------------- */

static void make_peers(void)
{
    if (server.route)
        return;
    server.route = peer_new(program_base(), "route", 1u << PROTOCOL_SMTPD_ROUTE | 1u << PROTOCOL_ROUTING);
    server.auth = peer_new(program_base(), "auth", 1u << PROTOCOL_SMTPD_AUTH);
    server.qmgr = peer_new(program_base(), "qmgr", 1u << PROTOCOL_SMTPD_QMGR);
    server.tlsmgr = peer_new(program_base(), "tlsmgr", 1u << PROTOCOL_SMTPD_TLSMGR);
}

static void take_peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    make_peers();
    if (strcmp(role, "route") == 0) {
        peer_connect(server.route, fd);
        sessions_tell(&server);
    } else if (strcmp(role, "auth") == 0)
        peer_connect(server.auth, fd);
    else if (strcmp(role, "qmgr") == 0)
        peer_connect(server.qmgr, fd);
    else if (strcmp(role, "tlsmgr") == 0)
        peer_connect(server.tlsmgr, fd);
    else
        close(fd);
}

/* ---- age: a foothold in this process lasts no longer than its life ------------------------------------------------------------------ */

#define SPREAD 8 /* a life is up to 1/8 shorter, so that not all end at the same time */

static bool asked_to_be_replaced;
static uint64_t sessions_of_life; /* 0: no bound */

static void ask_to_be_replaced(void)
{
    if (!asked_to_be_replaced && !program_draining())
        program_replace();
    asked_to_be_replaced = true;
}

static void time_is_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    ask_to_be_replaced();
}

static uint64_t shorter(uint64_t most)
{
    uint64_t random = 0;
    if (most < SPREAD || getrandom(&random, sizeof random, 0) != sizeof random)
        return most;
    return most - random % (most / SPREAD + 1);
}

static int bound_life(const struct settings *settings)
{
    uint64_t seconds = shorter(settings->smtpd_process_time);
    sessions_of_life = shorter(settings->smtpd_process_sessions);
    return seconds ? event_base_once(program_base(), -1, EV_TIMEOUT, time_is_over, NULL, &(struct timeval){.tv_sec = (time_t)seconds}) : 0;
}

static void turn(void)
{
    streams_flush();
    if (sessions_of_life && server.session_total >= sessions_of_life)
        ask_to_be_replaced();
}

/* ---- program --------------------------------------------------------------------------------------------------------------------- */

static size_t files_needed(const struct settings *settings)
{
    size_t n = OTHER_FILES + shed_descriptors(settings->limit_sessions);
    for (const struct listener *l = listeners; l; l = l->next)
        n++;
    return n;
}

static void fill_sandbox(const struct settings *settings, struct sandbox *sandbox)
{
    sandbox->root = settings->directory_empty;
    sandbox->calls = SANDBOX_ACCEPT;
    sandbox->open_files = files_needed(settings);
}

static int check_files(const struct settings *settings, struct error *error)
{
    rlim_t need = files_needed(settings);
    struct rlimit have;
    if (getrlimit(RLIMIT_NOFILE, &have) != 0)
        return error_set(error, "the limit of open files can't be read: %s", strerror(errno));
    if (have.rlim_max >= need || setrlimit(RLIMIT_NOFILE, &(struct rlimit){need, need}) == 0)
        return 0;
    return error_set(error,
                     "limit { sessions = %" PRIu64
                     " } needs %llu open files in each smtpd process, and the hard limit is %llu: raise it for the "
                     "master (ulimit -Hn, LimitNOFILE= of its service), or allow fewer sessions",
                     settings->limit_sessions, (unsigned long long)need, (unsigned long long)have.rlim_max);
}

static int prepare(const struct settings *settings, struct error *error)
{
    if (check_files(settings, error) != 0)
        return -1;
    if (!program_unprivileged())
        sandbox_bar_programs(settings->users);
    server.clients = clients_new();
    return tls_open(settings, &server.tls, error);
}

static int start(const struct settings *settings, struct error *error)
{
    server.base = program_base();
    server.settings = settings;
    make_peers();
    server_init(&server);
    server.ids = ids_new(server.qmgr);
    for (struct listener *l = listeners; l; l = l->next)
        if (open_listener(l, settings, error) != 0)
            return -1;
    if (bound_life(settings) < 0)
        return error_set(error, "out of memory for a timer");
    if (server.tls)
        return await_tls(error);
    tls_ready();
    return 0;
}

static void emptied(struct server *s)
{
    (void)s;
    program_end();
}

/* At a reload others take new clients, and ours stay as long as they like. At a stop they are sent away between messages. */
static void drain(void)
{
    close_listeners();
    server.emptied = emptied;
    if (program_drain_seconds())
        sessions_drain(&server);
    if (!server.session_count)
        program_end();
}

static const struct program smtpd_program = {
    .name = "smtpd",
    .sandbox = fill_sandbox,
    .prepare = prepare,
    .start = start,
    .listener = take_listener,
    .peer = take_peer,
    .drain = drain,
    .turn = turn,
};

int main(int argc, char **argv)
{
    return program_main(&smtpd_program, argc, argv);
}
