/* postino-local: delivers to the mailboxes of this host. */
#include "common/log.h"
#include "common/program.h"
#include "delivery/local_job.h"
#include "delivery/spawner.h"

#include <event2/event.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EDGES = 8 }; /* the qmgr of now, and one that is ending */

static struct {
    struct channel *edges[EDGES];
    struct event *ending;
} self;

/* ---- edges ----------------------------------------------------------------------------------------------------------------------- */

static void message(struct channel *c, const struct message *m, void *arg)
{
    (void)arg;
    local_job_take(c, m); /* the protocol has one question only */
}

static void closed(struct channel *c, void *arg)
{
    (void)arg;
    local_jobs_drop(c);
    for (size_t i = 0; i < EDGES; i++)
        if (self.edges[i] == c)
            self.edges[i] = NULL;
    channel_free(c);
}

static void open_edge(int fd)
{
    static const struct channel_handler handler = {.message = message, .closed = closed, .takes_loss = true};
    for (size_t i = 0; i < EDGES; i++) {
        if (self.edges[i])
            continue;
        self.edges[i] = channel_new(program_base(), fd, "qmgr", 1u << PROTOCOL_QMGR_DELIVERY, SIDE_SERVER, &handler, NULL);
        return;
    }
    log_error("more than %d edges to qmgr; the new one is closed", EDGES);
    close(fd);
}

static void peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    if (strcmp(role, "qmgr") == 0) {
        open_edge(fd);
    } else {
        log_error("the master sent an edge that is none of local's; it is closed");
        close(fd);
    }
}

/* ---- start and end --------------------------------------------------------------------------------------------------------------- */

static void sandbox(const struct settings *s, struct sandbox *box)
{
    sandbox_user_database(box);
    box->open_files = 256 + 4 * s->queue_local_deliveries;
}

/* Postino's own users have no mailbox: theirs are the spool, and the other programs. Those that there are not have nothing either. */
static void bar_programs(const struct settings *s, struct spawner_barred *barred)
{
    struct error error;
    gid_t gid;
    for (size_t i = 0; sandbox_programs[i]; i++)
        if (sandbox_user(s->users, sandbox_programs[i], &barred->uids[barred->count], &gid, &error) == 0)
            barred->count++;
}

/* It may become any user but root, and its workers go through this filter too. */
static int start_spawner(const struct settings *s, struct error *error)
{
    struct sandbox box = {.keep_setuid = true,
                          .calls = SANDBOX_FILES_READ | SANDBOX_FILES_WRITE | SANDBOX_FORK | SANDBOX_PREAD,
                          .open_files = 256,
                          .file_size = RLIM_INFINITY};
    if (!program_unprivileged() && sandbox_user(s->users, "local", &box.uid, &box.gid, error) != 0)
        return -1;
    static struct spawner_barred barred;
    if (!program_unprivileged())
        bar_programs(s, &barred);
    return spawner_start(&box, &barred, s->hostname, program_unprivileged(), error);
}

/* The user database's modules are loaded here, as they can't be later. */
static void ask_user_database(void)
{
    char room[16384];
    struct passwd pw, *found = NULL;
    gid_t groups[256];
    int n = 256;
    (void)getpwnam_r("nobody", &pw, room, sizeof room, &found);
    (void)getpwuid_r(65534, &pw, room, sizeof room, &found);
    (void)getgrouplist("nobody", 65534, groups, &n);
}

static int prepare(const struct settings *s, struct error *error)
{
    ask_user_database();
    return start_spawner(s, error);
}

static int start(const struct settings *s, struct error *error)
{
    (void)error;
    local_jobs_open(program_base(), s, program_unprivileged());
    return 0;
}

static bool flushed(void)
{
    for (size_t i = 0; i < EDGES; i++)
        if (self.edges[i] && !channel_flushed(self.edges[i]))
            return false;
    return true;
}

static void look_for_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (local_jobs_idle() && flushed())
        program_end();
}

/* Results leave after the turn that made them, so the end is looked for by a clock of its own. */
static void drain(void)
{
    self.ending = event_new(program_base(), -1, EV_PERSIST, look_for_end, NULL);
    if (!self.ending || event_add(self.ending, &(struct timeval){.tv_usec = 20000}) < 0)
        program_end();
}

static const struct program local_program = {
    .name = "local",
    .sandbox = sandbox,
    .prepare = prepare,
    .start = start,
    .peer = peer,
    .drain = drain,
};

int main(int argc, char **argv)
{
    return program_main(&local_program, argc, argv);
}
