/* postino-remote: the SMTP client. qmgr's DELIVER comes in on its channel, dns tells the hosts, RESULT goes back.
 *
 * postino-lmtp is the same program under another name: it speaks LMTP to UNIX sockets. Those can't be reached from remote's empty root
 * directory, and who reads what the internet says should not reach the sockets of this host. */
#include "delivery/remote.h"

#include "common/log.h"
#include "common/program.h"
#include "common/stream.h"
#include "delivery/session.h"
#include "delivery/tlsreport.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OTHER_FILES 256   /* beside a body, a socket and an attempt at another address for each delivery */
#define QMGRS       4     /* edges to qmgr at a time: more than one only while it is replaced */
#define DRAIN_LOOK  50000 /* microseconds */

struct remote remote;

static struct channel *qmgrs[QMGRS];
static struct event *drain_timer;

/* ---- the edge to qmgr ------------------------------------------------------------------------------------------------------------ */

static void forget(struct channel *c)
{
    for (size_t i = 0; i < QMGRS; i++)
        if (qmgrs[i] == c)
            qmgrs[i] = NULL;
    sites_orphan(c);
    sessions_orphan(c);
    channel_free(c);
}

static void deliver(struct channel *c, const struct message *m, void *arg)
{
    (void)arg;
    if (m->type != MESSAGE_DELIVER)
        return;
    struct job *j = job_new(c, m, (uint32_t)remote.settings->remote_session_messages);
    if (j && m->fd_lost) {
        job_decide_rest(j, VERDICT_DEFERRED, "4.3.0", SPAN_LITERAL("no descriptor for the message: too many open files"));
        j->origin.own = OWN_ROOM;
    }
    if (j) {
        site_deliver(j, &m->deliver);
        return;
    }
    log_error("qmgr asked for a delivery without recipients, with too many, or too large for our memory; closing its channel");
    forget(c);
}

static void closed(struct channel *c, void *arg)
{
    (void)arg;
    forget(c);
}

static void connect_qmgr(int fd)
{
    static const struct channel_handler handler = {.message = deliver, .closed = closed, .takes_loss = true};
    for (size_t i = 0; i < QMGRS; i++) {
        if (qmgrs[i])
            continue;
        qmgrs[i] = channel_new(remote.base, fd, "qmgr", 1u << PROTOCOL_QMGR_DELIVERY, SIDE_SERVER, &handler, NULL);
        return;
    }
    log_error("more than %d edges to qmgr at a time", QMGRS);
    close(fd);
}

static void peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    if (strcmp(role, "qmgr") == 0)
        connect_qmgr(fd);
    else if (strcmp(role, "dns") == 0)
        peer_connect(remote.dns, fd);
    else if (strcmp(role, "sts") == 0)
        peer_connect(remote.sts, fd);
    else if (strcmp(role, "creds") == 0 && remote.creds)
        peer_connect(remote.creds, fd);
    else
        close(fd);
}

/* ---- set-up ---------------------------------------------------------------------------------------------------------------------- */

static void sandbox(const struct settings *settings, struct sandbox *s)
{
    s->root = settings->directory_empty;
    s->calls = SANDBOX_STREAM_OUT | SANDBOX_PREAD | (settings->source_count ? SANDBOX_BIND : 0);
    s->open_files = OTHER_FILES + 3 * settings->queue_active;
}

static void sandbox_of_lmtp(const struct settings *settings, struct sandbox *s)
{
    s->calls = SANDBOX_UNIX_STREAM | SANDBOX_PREAD;
    s->open_files = OTHER_FILES + 2 * settings->queue_active;
}

static bool verifies(const struct settings *settings)
{
    for (size_t i = 0; i < settings->route_count; i++)
        if (settings_route_verifies(&settings->routes[i]))
            return true;
    return false;
}

static int prepare(const struct settings *settings, struct error *e)
{
    remote.settings = settings;
    remote.base = program_base();
    remote.dns = peer_new(remote.base, "dns", 1u << PROTOCOL_RESOLVING);
    remote.sts = peer_new(remote.base, "sts", 1u << PROTOCOL_REMOTE_STS);
    remote.creds = peer_new(remote.base, "creds", 1u << PROTOCOL_REMOTE_CREDS);
    remote.tls = client_tls_new(settings->tls_authorities, verifies(settings), e);
    return remote.tls ? 0 : -1;
}

/* It asks nobody: those edges stay unconnected. */
static int prepare_lmtp(const struct settings *settings, struct error *e)
{
    (void)e;
    remote.settings = settings;
    remote.base = program_base();
    remote.dns = peer_new(remote.base, "dns", 1u << PROTOCOL_RESOLVING);
    remote.sts = peer_new(remote.base, "sts", 1u << PROTOCOL_REMOTE_STS);
    remote.sockets = true;
    return 0;
}

/* ---- the end --------------------------------------------------------------------------------------------------------------------- */

static bool flushed(void)
{
    tlsreport_flush();
    for (size_t i = 0; i < QMGRS; i++)
        if (qmgrs[i] && !channel_flushed(qmgrs[i]))
            return false;
    return true;
}

/* Looked at now and then, as results may still wait to be taken by qmgr when the last session is gone. */
static void look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (sites_waiting() == 0 && sessions_open() == 0 && flushed())
        program_end();
}

static void drain(void)
{
    drain_timer = event_new(remote.base, -1, EV_PERSIST, look, NULL);
    if (!drain_timer) {
        program_end();
        return;
    }
    sessions_quit_idle();
    event_add(drain_timer, &(struct timeval){.tv_usec = DRAIN_LOOK});
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "remote", .sandbox = sandbox, .prepare = prepare, .peer = peer, .drain = drain, .turn = streams_flush};
    static const struct program lmtp = {
        .name = "lmtp", .sandbox = sandbox_of_lmtp, .prepare = prepare_lmtp, .peer = peer, .drain = drain, .turn = streams_flush};
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";
    return program_main(strcmp(name, "postino-lmtp") == 0 ? &lmtp : &program, argc, argv);
}
