/* postino-tlsmgr: has the private keys of the host's certificates, and signs with them for smtpd; makes the keys of session tickets. It sees no
 * network and no mail. */
#include "common/clock.h"
#include "common/log.h"
#include "common/program.h"
#include "tlsmgr/pairs.h"
#include "tlsmgr/requests.h"
#include "tlsmgr/sign.h"
#include "tlsmgr/tickets.h"

#include <event2/event.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES_MOST   ((uint64_t)1024) /* an edge for each smtpd, and then for those of a reload */
#define LOOK_SECONDS 5
#define DAY_MS       86400000
#define BATCH        16 /* signatures before what is done is sent, and what came is looked at */

struct edge {
    TAILQ_ENTRY(edge) link;
    struct channel *channel;
    struct requests requests;
    uint32_t question; /* CERTIFICATES that waits for another version; 0: none */
    bool warned;       /* a request was refused, and that is in the log */
};

static struct {
    struct pairs *pairs;
    struct tickets tickets;
    TAILQ_HEAD(, edge) edges;
    struct event *work, *look, *rotate;
    uint64_t version; /* never that of another process: it begins at random */
    uint64_t warned;  /* when it was looked for certificates that end soon */
} self;

/* ---- CERTIFICATES ---------------------------------------------------------------------------------------------------------------- */

static uint32_t add_chains(struct buf *chains)
{
    uint32_t count = 0;
    for (size_t i = 0; i < pairs_count(self.pairs); i++) {
        const char *file;
        const struct pair *pair = pairs_nth(self.pairs, i, &file);
        if (!pair)
            continue;
        record_chain_add(chains, &(struct record_chain){.file = span_of(file), .certificates = buf_span(&pair->chain)});
        count++;
    }
    return count;
}

static void answer_certificates(struct edge *edge)
{
    struct buf chains = BUF_EMPTY(FRAME_MAX), keys = BUF_EMPTY(4096);
    uint32_t count = add_chains(&chains);
    tickets_add(&self.tickets, &keys);
    struct message m = {.type = MESSAGE_CERTIFIED,
                        .id = edge->question,
                        .fd = -1,
                        .certified = {.version = self.version,
                                      .chains = {.count = count, .bytes = buf_span(&chains)},
                                      .ticket_keys = {.count = (uint32_t)self.tickets.count, .bytes = buf_span(&keys)}}};
    channel_send(edge->channel, &m);
    edge->question = 0;
    OPENSSL_cleanse(keys.data, keys.cap);
    buf_free(&keys);
    buf_free(&chains);
}

static void take_certificates(struct edge *edge, const struct message *m)
{
    if (edge->question)
        answer_certificates(edge);
    edge->question = m->id;
    if (m->certificates.known != self.version)
        answer_certificates(edge);
}

static void changed(void)
{
    self.version++;
    for (struct edge *e = TAILQ_FIRST(&self.edges); e; e = TAILQ_NEXT(e, link))
        if (e->question)
            answer_certificates(e);
}

/* ---- SIGN ------------------------------------------------------------------------------------------------------------------------ */

static void answer_sign(struct edge *edge, uint32_t id, struct span octets, const char *reason)
{
    channel_send(edge->channel, &(struct message){.type = MESSAGE_SIGNATURE,
                                                  .id = id,
                                                  .fd = -1,
                                                  .signature = {.octets = octets, .reason = span_of(reason ? reason : "")}});
    if (reason && !edge->warned)
        log_warning("a signature was refused to postino-smtpd: %s; if this comes again, look at that process", reason);
    edge->warned |= reason != NULL;
}

static void take_sign(struct edge *edge, const struct message *m)
{
    const char *refusal = requests_add(&edge->requests, m->id, &m->sign);
    if (refusal)
        answer_sign(edge, m->id, (struct span){0}, refusal);
    else
        event_active(self.work, EV_TIMEOUT, 0);
}

static void sign_one(struct edge *edge, const struct request *r)
{
    struct buf signature = BUF_EMPTY(0);
    EVP_PKEY *key = pairs_key(self.pairs, request_key(r));
    const char *refusal = key ? sign(key, r->form, request_input(r), &signature) : "there is no such key";
    answer_sign(edge, r->id, buf_span(&signature), refusal);
    buf_free(&signature);
}

/* An edge at a time, the one that had its turn goes to the end. */
static struct edge *next_asker(void)
{
    for (struct edge *e = TAILQ_FIRST(&self.edges); e; e = TAILQ_NEXT(e, link)) {
        if (e->requests.count == 0)
            continue;
        TAILQ_REMOVE(&self.edges, e, link);
        TAILQ_INSERT_TAIL(&self.edges, e, link);
        return e;
    }
    return NULL;
}

static void work(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    struct edge *edge = NULL;
    for (int i = 0; i < BATCH && (edge = next_asker()); i++) {
        struct request *r = requests_take(&edge->requests);
        sign_one(edge, r);
        free(r);
    }
    if (edge)
        event_active(self.work, EV_TIMEOUT, 0);
}

/* ---- edges ----------------------------------------------------------------------------------------------------------------------- */

static void on_message(struct channel *channel, const struct message *m, void *arg)
{
    (void)channel;
    if (m->type == MESSAGE_SIGN)
        take_sign(arg, m);
    else if (m->type == MESSAGE_CERTIFICATES)
        take_certificates(arg, m);
}

static void on_closed(struct channel *channel, void *arg)
{
    struct edge *edge = arg;
    TAILQ_REMOVE(&self.edges, edge, link);
    requests_free(&edge->requests);
    channel_free(channel);
    free(edge);
}

static void take_peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    static const struct channel_handler handler = {.message = on_message, .closed = on_closed};
    struct edge *edge = strcmp(role, "smtpd") == 0 ? calloc(1, sizeof *edge) : NULL;
    if (!edge) {
        close(fd);
        return;
    }
    requests_init(&edge->requests);
    TAILQ_INSERT_TAIL(&self.edges, edge, link);
    edge->channel = channel_new(program_base(), fd, role, 1u << PROTOCOL_SMTPD_TLSMGR, SIDE_SERVER, &handler, edge);
}

/* ---- time ------------------------------------------------------------------------------------------------------------------------ */

static void warn_daily(uint64_t now)
{
    if (self.warned && now - self.warned < DAY_MS)
        return;
    self.warned = now;
    pairs_warn(self.pairs, (time_t)program_now());
}

static void look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    uint64_t now = clock_monotonic_ms();
    if (pairs_look(self.pairs, now))
        changed();
    warn_daily(now);
}

static void rotate(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    uint64_t now = clock_monotonic_ms();
    if (tickets_turn(&self.tickets, now))
        changed();
    uint64_t wait = tickets_due(&self.tickets) - now;
    struct timeval after = {.tv_sec = (time_t)(wait / 1000), .tv_usec = (suseconds_t)(wait % 1000 * 1000 + 999)};
    evtimer_add(self.rotate, &after);
}

/* ---- program --------------------------------------------------------------------------------------------------------------------- */

/* A renewed file comes into the directory of the former one: of the name that is configured, and of what a symbolic link leads to. */
static void add_directories(struct sandbox *sandbox, const struct strings *files)
{
    for (size_t i = 0; i < files->n; i++) {
        char path[PATH_MAX];
        sandbox_directory_of(sandbox, files->v[i], SANDBOX_READ);
        if (realpath(files->v[i], path))
            sandbox_directory_of(sandbox, path, SANDBOX_READ);
    }
}

static void fill_sandbox(const struct settings *settings, struct sandbox *sandbox)
{
    add_directories(sandbox, &settings->tls_certificate);
    add_directories(sandbox, &settings->tls_key);
    sandbox->calls = SANDBOX_FILES_READ;
    sandbox->keep_read_any = settings->tls_certificate.n > 0;
    sandbox->open_files = FILES_MOST;
}

/* As root: what it can't read again from within its sandbox it has all the same. */
static int prepare(const struct settings *settings, struct error *error)
{
    (void)error;
    self.pairs = pairs_open(settings);
    self.tickets.period = settings->tls_ticket_time * 1000;
    return 0;
}

static int start(const struct settings *settings, struct error *error)
{
    (void)settings;
    self.work = evtimer_new(program_base(), work, NULL);
    self.look = event_new(program_base(), -1, EV_PERSIST, look, NULL);
    self.rotate = evtimer_new(program_base(), rotate, NULL);
    struct timeval every = {.tv_sec = LOOK_SECONDS};
    if (!self.work || !self.look || !self.rotate || evtimer_add(self.look, &every) != 0)
        return error_set(error, "out of memory at start");
    if (RAND_bytes((unsigned char *)&self.version, sizeof self.version) != 1)
        return error_set(error, "no random numbers");
    rotate(-1, 0, NULL);
    warn_daily(clock_monotonic_ms());
    return 0;
}

static const struct program tlsmgr_program = {
    .name = "tlsmgr", .sandbox = fill_sandbox, .prepare = prepare, .start = start, .peer = take_peer};

int main(int argc, char **argv)
{
    TAILQ_INIT(&self.edges);
    return program_main(&tlsmgr_program, argc, argv);
}
