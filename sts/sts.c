/* postino-sts: says which MTA-STS policy a domain has (RFC 8461), and reports to other domains how TLS with them went (RFC 8460). It fetches and keeps
 * policies; postino-remote obeys them, and tells what came of its sessions. */
#include "common/log.h"
#include "common/program.h"
#include "sts/days.h"
#include "sts/domains.h"
#include "sts/fetch.h"
#include "sts/mail.h"
#include "sts/refresh.h"
#include "sts/reports.h"
#include "sts/sessions.h"
#include "sts/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#define OTHER_FILES 200

/* A question of remote; it ends with its answer, or with its edge. */
struct job {
    LIST_ENTRY(job) link;
    struct edge *edge;
    uint32_t id;
    struct domain_wait *wait;
};

struct edge {
    struct channel *channel;
    LIST_HEAD(, job) jobs;
};

static struct peer *dns, *route, *qmgr;

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

static void end_if_drained(void)
{
    if (program_draining() && domains_waiting() == 0 && reports_under_way() == 0) {
        days_save();
        program_end();
    }
}

static void answered(const struct message_sts_is *m, void *arg)
{
    struct job *job = arg;
    channel_send(job->edge->channel, &(struct message){.type = MESSAGE_STS_IS, .id = job->id, .fd = -1, .sts_is = *m});
    LIST_REMOVE(job, link);
    free(job);
    end_if_drained();
}

static void take_question(struct channel *c, const struct message *m, void *arg)
{
    (void)c;
    struct edge *edge = arg;
    if (m->type == MESSAGE_TLS_SESSIONS) {
        sessions_told(&m->tls_sessions);
        return;
    }
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        log_die("out of memory for a question");
    *job = (struct job){.edge = edge, .id = m->id};
    LIST_INSERT_HEAD(&edge->jobs, job, link);
    struct domain_wait *wait = domain_ask(m->sts.domain, answered, job);
    if (wait)
        job->wait = wait;
}

static void edge_closed(struct channel *c, void *arg)
{
    struct edge *edge = arg;
    struct job *job;
    while ((job = LIST_FIRST(&edge->jobs))) {
        domain_cancel(job->wait);
        LIST_REMOVE(job, link);
        free(job);
    }
    channel_free(c);
    free(edge);
    end_if_drained();
}

/* ---- edges ----------------------------------------------------------------------------------------------------------------------- */

static void connect_remote(int fd)
{
    static const struct channel_handler handler = {.message = take_question, .closed = edge_closed};
    struct edge *edge = calloc(1, sizeof *edge);
    if (!edge)
        log_die("out of memory for an edge");
    LIST_INIT(&edge->jobs);
    edge->channel = channel_new(program_base(), fd, "remote", 1u << PROTOCOL_REMOTE_STS, SIDE_SERVER, &handler, edge);
}

static void peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    if (strcmp(role, "remote") == 0)
        connect_remote(fd);
    else if (strcmp(role, "dns") == 0)
        peer_connect(dns, fd);
    else if (strcmp(role, "route") == 0)
        peer_connect(route, fd);
    else if (strcmp(role, "qmgr") == 0)
        peer_connect(qmgr, fd);
    else
        close(fd);
}

/* ---- set-up ---------------------------------------------------------------------------------------------------------------------- */

static void sandbox(const struct settings *s, struct sandbox *out)
{
    sandbox_path(out, s->directory_sts, SANDBOX_READ | SANDBOX_WRITE);
    sandbox_directory_of(out, s->tls_authorities, SANDBOX_READ);
    out->calls = SANDBOX_STREAM_OUT | SANDBOX_FILES_READ | SANDBOX_FILES_WRITE | SANDBOX_POLL;
    out->file_size = s->tlsrpt_from[0] ? TALLY_FILE : STS_TEXT_MOST * 2;
    out->open_files = OTHER_FILES;
}

static int prepare(const struct settings *s, struct error *error)
{
    int directory = open(s->directory_sts, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return error_set(error, "directory { sts = \"%s\" } can't be opened: %s", s->directory_sts, strerror(errno));
    store_setup(directory);
    dns = peer_new(program_base(), "dns", 1u << PROTOCOL_RESOLVING | 1u << PROTOCOL_STS_DNS);
    route = peer_new(program_base(), "route", 1u << PROTOCOL_ROUTING);
    qmgr = peer_new(program_base(), "qmgr", 1u << PROTOCOL_SMTPD_QMGR);
    domains_setup(dns);
    mail_setup(route, qmgr);
    days_setup(directory);
    sessions_setup(s->tlsrpt_from[0] != '\0');
    return fetch_setup(program_base(), s->tls_authorities, s->sts_timeout, error);
}

static int start(const struct settings *s, struct error *error)
{
    (void)error;
    refresh_start(program_base());
    reports_start(s, program_base(), dns);
    return 0;
}

static void drain(void)
{
    reports_drain(end_if_drained);
    end_if_drained();
}

int main(int argc, char **argv)
{
    static const struct program program = {
        .name = "sts", .sandbox = sandbox, .prepare = prepare, .start = start, .peer = peer, .drain = drain};
    return program_main(&program, argc, argv);
}
