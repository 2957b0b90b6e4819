/* postino-dns: answers RESOLVE (the hosts of a next hop) and NAME (of a client) from libunbound, which runs on our event loop and starts no
 * thread. */
#include "common/address.h"
#include "common/log.h"
#include "common/program.h"
#include "resolver/anchor.h"
#include "resolver/clientname.h"
#include "resolver/context.h"
#include "resolver/question.h"
#include "resolver/resolve.h"
#include "resolver/stub.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unbound.h>
#include <unistd.h>

#define TXT_MOST ((size_t)256 << 10) /* octets of all records of a name */

/* A question of one of the programs that ask us; it ends with its answer, or with its edge. */
struct job {
    LIST_ENTRY(job) link;
    struct edge *edge;
    uint32_t id;
    struct resolve *resolve;
    struct clientname *name;
    struct question_wait *texts;
};

struct edge {
    struct channel *channel;
    LIST_HEAD(, job) jobs;
};

static struct {
    struct nameservers servers;
    struct resolve_rules rules;
    struct ub_ctx *context;
    size_t jobs;
} self;

/* ---- jobs ---------------------------------------------------------------------------------------------------------------------- */

static struct job *job_new(struct edge *edge, uint32_t id)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        log_die("out of memory for a question");
    job->edge = edge;
    job->id = id;
    LIST_INSERT_HEAD(&edge->jobs, job, link);
    self.jobs++;
    return job;
}

static void job_end(struct job *job)
{
    LIST_REMOVE(job, link);
    free(job);
    self.jobs--;
    if (self.jobs == 0 && program_draining())
        program_end();
}

static void resolved(const struct message_resolved *m, void *arg)
{
    struct job *job = arg;
    channel_send(job->edge->channel, &(struct message){.type = MESSAGE_RESOLVED, .id = job->id, .fd = -1, .resolved = *m});
    job_end(job);
}

static void named(struct span name, void *arg)
{
    struct job *job = arg;
    channel_send(job->edge->channel, &(struct message){.type = MESSAGE_NAMED, .id = job->id, .fd = -1, .named = {.name = name}});
    job_end(job);
}

static void take_resolve(struct edge *edge, const struct message *m)
{
    struct job *job = job_new(edge, m->id);
    struct resolve *r = resolve_start(&self.rules, m->resolve.name, m->resolve.want, m->resolve.port, resolved, job);
    if (r != NULL)
        job->resolve = r;
}

static void add_txt(struct buf *out, const struct wire_record *r)
{
    struct buf text = BUF_EMPTY(UINT16_MAX);
    wire_text(r, &text);
    record_txt_add(out, &(struct record_txt){.data = buf_span(&text)});
    buf_free(&text);
}

static void texts_found(const struct question_answer *a, void *arg)
{
    struct job *job = arg;
    struct buf list = BUF_EMPTY(TXT_MOST);
    uint32_t count = 0;
    for (size_t i = 0; a->result == QUESTION_OK && i < a->count && list.len + a->records[i].length + 16u < TXT_MOST; i++, count++)
        add_txt(&list, &a->records[i]);
    unsigned verdict = a->result == QUESTION_OK ? RESOLVE_OK : a->result == QUESTION_DEFERRED ? RESOLVE_DEFERRED : RESOLVE_FAILED;
    struct message m = {
        .type = MESSAGE_TXTS, .id = job->id, .fd = -1, .txts = {.verdict = (uint16_t)verdict, .records = {count, buf_span(&list)}}};
    channel_send(job->edge->channel, &m);
    buf_free(&list);
    job_end(job);
}

static void take_txt(struct edge *edge, const struct message *m)
{
    struct job *job = job_new(edge, m->id);
    char name[256];
    struct span wanted = m->txt.name;
    if (wanted.n < sizeof name && address_is_domain(wanted, false)) {
        snprintf(name, sizeof name, "%.*s", SPAN_ARG(wanted));
        job->texts = question_ask(name, WIRE_TXT, texts_found, job);
        return;
    }
    channel_send(edge->channel, &(struct message){.type = MESSAGE_TXTS, .id = m->id, .fd = -1, .txts = {.verdict = RESOLVE_FAILED}});
    job_end(job);
}

static void take_name(struct edge *edge, const struct message *m)
{
    struct job *job = job_new(edge, m->id);
    struct clientname *c = clientname_start(m->name.address, named, job);
    if (c != NULL)
        job->name = c;
}

/* ---- edges --------------------------------------------------------------------------------------------------------------------- */

static void edge_message(struct channel *c, const struct message *m, void *arg)
{
    (void)c;
    if (m->type == MESSAGE_RESOLVE)
        take_resolve(arg, m);
    else if (m->type == MESSAGE_NAME)
        take_name(arg, m);
    else if (m->type == MESSAGE_TXT)
        take_txt(arg, m);
}

static void edge_closed(struct channel *c, void *arg)
{
    struct edge *edge = arg;
    struct job *job;
    while ((job = LIST_FIRST(&edge->jobs)) != NULL) {
        if (job->resolve != NULL)
            resolve_cancel(job->resolve);
        if (job->name != NULL)
            clientname_cancel(job->name);
        question_cancel(job->texts);
        job_end(job);
    }
    channel_free(c);
    free(edge);
}

static void peer(const char *role, uint32_t instance, int fd)
{
    static const struct channel_handler handler = {.message = edge_message, .closed = edge_closed};
    (void)instance;
    struct edge *edge = calloc(1, sizeof *edge);
    if (edge == NULL)
        log_die("out of memory for an edge");
    LIST_INIT(&edge->jobs);
    unsigned protocols = 1u << PROTOCOL_RESOLVING;
    if (strcmp(role, "route") == 0)
        protocols |= 1u << PROTOCOL_ROUTE_DNS;
    if (strcmp(role, "sts") == 0)
        protocols |= 1u << PROTOCOL_STS_DNS;
    edge->channel = channel_new(program_base(), fd, role, protocols, SIDE_SERVER, &handler, edge);
}

/* ---- start --------------------------------------------------------------------------------------------------------------------- */

static int prepare(const struct settings *s, struct error *error)
{
    (void)error;
    context_servers(s, &self.servers);
    self.rules = (struct resolve_rules){.hostname = s->hostname, .mx_hosts = (unsigned)s->dns_mx_hosts, .family = s->remote_address_family};
    return 0;
}

static void sandbox(const struct settings *s, struct sandbox *out)
{
    sandbox_directory_of(out, s->dns_trust_anchor, SANDBOX_READ);
    out->calls = SANDBOX_STREAM_OUT | SANDBOX_DGRAM_OUT | SANDBOX_FILES_READ;
    if (*s->directory_dns) {
        sandbox_path(out, s->directory_dns, SANDBOX_READ | SANDBOX_WRITE);
        out->calls |= SANDBOX_FILES_WRITE;
        out->file_size = ANCHOR_OCTETS;
    }
    out->open_files = 8192;
}

static void keys_seen(const struct question_answer *a, void *arg)
{
    (void)a, (void)arg; /* it is libunbound that learns from it */
}

/* libunbound looks whether the root has new keys when it has to look at its keys at all, as they are no longer in its cache. A host that asks for nothing
 * must look, too (RFC 5011 2.3). */
static void look_at_the_keys(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval hour = {.tv_sec = 3600};
    (void)fd, (void)what, (void)arg;
    question_ask(".", WIRE_DNSKEY, keys_seen, NULL);
    if (event_base_once(program_base(), -1, EV_TIMEOUT, look_at_the_keys, NULL, &hour) != 0)
        log_die("out of memory for a timer");
}

static int start(const struct settings *s, struct error *error)
{
    if (s->dns_trust_ad)
        return stub_setup(program_base(), &self.servers, error) == 0 ? question_setup(program_base(), NULL, (unsigned)s->dns_timeout, error)
                                                                     : -1;
    self.context = context_new_keeping(program_base(), s, &self.servers, error);
    if (self.context == NULL || question_setup(program_base(), self.context, (unsigned)s->dns_timeout, error) != 0)
        return -1;
    if (*s->directory_dns)
        look_at_the_keys(-1, 0, NULL);
    return 0;
}

static void drain(void)
{
    if (self.jobs == 0)
        program_end();
}

static const struct program dns_program = {
    .name = "dns",
    .sandbox = sandbox,
    .prepare = prepare,
    .start = start,
    .peer = peer,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return program_main(&dns_program, argc, argv);
}
