/* postino-qmgr: the only program that touches the spool. */
#include "common/orphan.h"
#include "common/program.h"
#include "qmgr/queue.h"
#include "qmgr/spool_lock.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_FILES 4096

static int directory = -1;
static int listeners[8];
static size_t listener_count;
static struct event *second, *flushed, *wake;

/* ---- before the sandbox ------------------------------------------------------------------------------------------ */

static void sandbox(const struct settings *s, struct sandbox *box)
{
    box->root = s->directory_spool;
    sandbox_path(box, s->directory_spool, SANDBOX_READ | SANDBOX_WRITE);
    box->calls = SANDBOX_FILES_READ | SANDBOX_FILES_WRITE | SANDBOX_THREADS | SANDBOX_ACCEPT;
    box->open_files = OPEN_FILES;
    box->file_size = UINT64_MAX;
}

static int prepare(const struct settings *s, struct error *error)
{
    const char *path = s->directory_spool;
    directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return error_set(error, "directory { spool = \"%s\" } can't be opened: %s", path, strerror(errno));
    struct orphan_wait wait = {0};
    while (spool_lock(directory, SPOOL_LOCK_ALONE, error) != 0)
        if (!orphan_wait(&wait, spool_lock_holder(directory), "the spool"))
            return -1;
    admin_resolve(s);
    if (!program_unprivileged())
        sandbox_bar_programs(s->users);
    return 0;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static void nothing(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg; /* turn() does it */
}

static void every_second(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    queue_look_again();
    if (program_draining())
        return;
    park_turn(queue_now());
    warning_turn(queue_now());
    site_tick();
    site_turn(queue_now());
}

/* At the full second at which something comes due. */
static void set_wake(void)
{
    uint64_t now = queue_now_us(), due = schedule_wake(queue.schedule, now / 1000000) * 1000000;
    if (due == 0 || due > now + 1000000)
        return; /* every_second() comes before that */
    uint64_t wait = due > now ? due - now : 0;
    event_add(wake, &(struct timeval){.tv_usec = (suseconds_t)(wait < 999999 ? wait + 1 : wait)});
}

static void turn(void)
{
    spool_turn(queue.spool);
    if (!program_draining()) {
        delivery_pump();
        set_wake();
    }
    queue_check_all();
    spool_turn(queue.spool);
    if (program_draining() && queue.active == 0 && queue.storing == 0 && spool_idle(queue.spool)) {
        spool_close(queue.spool);
        queue.spool = NULL;
        program_end();
    }
}

static void drain(void)
{
    spool_hurry(queue.spool);
    log_info("stopping: %zu deliveries are under way", queue.active);
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static void use_settings(const struct settings *s)
{
    queue.settings = s;
    schedule_probing(queue.schedule, s->queue_retry_first, s->queue_retry_most);
    schedule_active_most(queue.schedule, s->queue_active);
}

static void reconfigure(const struct settings *s)
{
    use_settings(s);
    spool_free_least(queue.spool, s->limit_queue_free);
    site_reconfigure();
    warning_reconfigure();
}

static void start_events(void)
{
    struct event_base *base = program_base();
    second = event_new(base, -1, EV_PERSIST, every_second, NULL);
    wake = event_new(base, -1, 0, nothing, NULL);
    flushed = event_new(base, spool_fd(queue.spool), EV_READ | EV_PERSIST, nothing, NULL);
    if (!second || !flushed || !wake || event_add(second, &(struct timeval){.tv_sec = 1}) != 0 || event_add(flushed, NULL) != 0)
        log_die("out of memory for events");
    for (size_t i = 0; i < listener_count; i++)
        admin_listen(listeners[i]);
}

static void need_peers(void)
{
    struct event_base *base = program_base();
    if (queue.remote)
        return;
    queue.remote = peer_new(base, "remote", 1u << PROTOCOL_QMGR_DELIVERY);
    queue.lmtp = peer_new(base, "lmtp", 1u << PROTOCOL_QMGR_DELIVERY);
    queue.local = peer_new(base, "local", 1u << PROTOCOL_QMGR_DELIVERY);
    queue.dns = peer_new(base, "dns", 1u << PROTOCOL_RESOLVING);
    queue.route = peer_new(base, "route", 1u << PROTOCOL_ROUTING);
}

static int start(const struct settings *s, struct error *error)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        return error_set(error, "no random numbers: %s", strerror(errno));
    queue.schedule = schedule_new(queue_now(), seed);
    shaping_start();
    use_settings(s);
    need_peers();
    queue.spool = spool_open(directory, s->limit_queue_free, error);
    if (!queue.spool)
        return -1;
    hash_init(&queue.mails);
    warning_start(queue_now());
    park_start(queue_now());
    long n = spool_recover(queue.spool, queue_recover, NULL, error);
    if (n < 0)
        return -1;
    /* 256 ids a microsecond are never given out, so that no id is ever given out twice. */
    queue.next_id = queue_now_us() << 8;
    if (queue.next_id <= spool_last_id(queue.spool))
        queue.next_id = spool_last_id(queue.spool) + 1;
    queue.first_id = queue.next_id;
    log_info("%ld messages are in the queue", n);
    start_events();
    return 0;
}

/* ---- what the master hands over ---------------------------------------------------------------------------------- */

static void listener(const char *name, bool is_unix, int fd)
{
    (void)name;
    if (is_unix && listener_count < sizeof listeners / sizeof *listeners)
        listeners[listener_count++] = fd;
    else
        close(fd);
}

static void peer(const char *role, uint32_t instance, int fd)
{
    (void)instance;
    need_peers();
    if (strcmp(role, "smtpd") == 0 || strcmp(role, "sts") == 0)
        intake_connect(fd, role);
    else if (strcmp(role, "remote") == 0)
        peer_connect(queue.remote, fd);
    else if (strcmp(role, "lmtp") == 0)
        peer_connect(queue.lmtp, fd);
    else if (strcmp(role, "local") == 0)
        peer_connect(queue.local, fd);
    else if (strcmp(role, "dns") == 0)
        peer_connect(queue.dns, fd);
    else if (strcmp(role, "route") == 0)
        peer_connect(queue.route, fd);
    else
        close(fd);
}

static const struct program qmgr_program = {
    .name = "qmgr",
    .sandbox = sandbox,
    .prepare = prepare,
    .start = start,
    .listener = listener,
    .peer = peer,
    .reconfigure = reconfigure,
    .drain = drain,
    .turn = turn,
};

int main(int argc, char **argv)
{
    return program_main(&qmgr_program, argc, argv);
}
