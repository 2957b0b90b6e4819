/* local's workers, as the sandboxed postino-local has them made: whose they are, how many there are, when they end; and workers that hang, crash,
 * or say what they should not. */
#include "common/channel.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "delivery/spawner.h"
#include "delivery/worker.h"
#include "delivery/workers.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { USER = 64520, LOCAL = 64504, MOST = 64 };

/* ---- a worker that misbehaves ----------------------------------------------------------------------------------------------------- */

static enum { GOOD, HANGS, CRASHES, FAILS_FOR_GOOD, ANSWERS_ANOTHER, FLOODS, SILENT, STRAYS, HOLDS, REMEMBERS, SLOW, FIRST_HANG } act;
static bool is_local;    /* in the process that is postino-local */
static unsigned hanging; /* users */
static bool privileged;
static char base[64];
static char secret[] = "the-mail-of-somebody-else";

int __real_fdatasync(int);
ssize_t __real_send(int, const void *, size_t, int);
int __wrap_fdatasync(int);
ssize_t __wrap_send(int, const void *, size_t, int);

/* The owner's own directory, though not the mailbox. */
static bool writes_elsewhere(void)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/elsewhere", base);
    return open(path, O_WRONLY | O_CREAT, 0600) >= 0 || open("/etc/passwd", O_RDONLY) >= 0;
}

/* Of postino-local's own: channels, the event loop, the spawner's orders. It has one socket. */
static bool holds_what_is_not_its_own(void)
{
    struct stat st;
    int sockets = 0;
    for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
        if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && (!S_ISSOCK(st.st_mode) || sockets++))
            return true;
    return false;
}

int __wrap_fdatasync(int fd)
{
    while (act == HANGS || (act == FIRST_HANG && geteuid() < USER + hanging))
        (void)sched_yield();
    if (act == CRASHES)
        abort();
    if (act == STRAYS && writes_elsewhere())
        abort();
    if (act == HOLDS && holds_what_is_not_its_own())
        abort();
    if (act == REMEMBERS && secret[0] != 't')
        abort();
    for (uint64_t end = clock_monotonic_ms() + 20; act == SLOW && clock_monotonic_ms() < end;)
        (void)sched_yield();
    return __real_fdatasync(fd);
}

void __wrap_flush_files(const int fds[], int errors[], size_t n);
void __wrap_flush_files(const int fds[], int errors[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        errors[i] = fdatasync(fds[i]) == 0 ? 0 : errno;
}

ssize_t __wrap_send(int fd, const void *p, size_t n, int flags)
{
    static char much[60000];
    if (is_local || n >= sizeof much)
        return __real_send(fd, p, n, flags);
    memcpy(much, p, n);
    switch (act) {
    case FAILS_FOR_GOOD:
        much[FRAME_HEADER] = VERDICT_FAILED;
        break;
    case ANSWERS_ANOTHER:
        much[FRAME_HEADER - 4]++;
        break;
    case FLOODS:
        memset(much, 'x', sizeof much);
        (void)__real_send(fd, much, sizeof much, flags);
        break;
    case SILENT:
        return (ssize_t)n;
    default:
        return __real_send(fd, p, n, flags);
    }
    (void)__real_send(fd, much, n, flags);
    return (ssize_t)n;
}

/* ---- deliveries ------------------------------------------------------------------------------------------------------------------- */

struct plan {
    size_t count, users; /* deliveries; user i % users has the i-th */
    struct workers_limits limits;
    enum verdict verdict; /* of all */
    const char *words;
    bool one_by_one; /* the next is asked for when the last was told */
    bool shared;
    unsigned hang;   /* so many of the users */
    bool until_gone; /* local ends when no worker is there any more */
    enum { HONEST, NO_TEXT, NO_COUNT, ROOTS_GROUP, IN_ROOTS_GROUP, ROOT, BARRED, CLIMBS } order;
};

static struct event_base *events;
static struct local_delivery deliveries[MOST];
static const struct plan *plan;
static size_t asked, told;
static bool wrong;

/* Between local and who watches it: all was told, and the workers that are left then have been counted. */
static struct shared {
    atomic_bool told, counted;
} * shared;

static uid_t user(size_t i)
{
    return privileged ? (uid_t)(USER + i % plan->users) : geteuid();
}

/* An order as a local that was taken over could give it. */
static void twist(struct mailbox *m)
{
    if (plan->order == NO_TEXT)
        memset(m->user, 'x', sizeof m->user);
    else if (plan->order == NO_COUNT)
        m->group_count = 1u << 30;
    else if (plan->order == ROOTS_GROUP)
        m->gid = 0;
    else if (plan->order == IN_ROOTS_GROUP)
        m->group_count = 1;
    else if (plan->order == ROOT)
        m->uid = 0;
    else if (plan->order == BARRED)
        m->uid = LOCAL - 2;
    else if (plan->order == CLIMBS)
        (void)snprintf(m->path, sizeof m->path, "../u1/Maildir");
}

static void ask(void)
{
    size_t i = asked++;
    struct mailbox m = {.uid = user(i), .gid = (gid_t)user(i), .user = "user", .shared = plan->shared};
    (void)snprintf(m.base, sizeof m.base, "%s/u%zu", base, i % plan->users);
    (void)snprintf(m.path, sizeof m.path, plan->shared ? "box%zu" : "Maildir", i % 3);
    twist(&m);
    deliveries[i].letter =
        (struct maildir_letter){.sender = span_of("a@b.example"), .body = span_of("x\r\n"), .fd = -1, .id = 5 + i, .hostname = "h"};
    workers_deliver(&m, &deliveries[i]);
}

/* Of the first users nothing is done; all others have theirs before the time of these is over. */
static bool fair(const struct local_delivery *d)
{
    static size_t given_up; /* by those workers, who were given as much */
    static bool over;
    bool hangs = (size_t)(d - deliveries) % plan->users < plan->hang;
    if (!hangs)
        return d->outcome.verdict == VERDICT_DELIVERED && !over;
    char says[40];
    (void)snprintf(says, sizeof says, "longer than %u seconds", plan->limits.time);
    over |= strstr(d->outcome.words, says) != NULL;
    given_up += strstr(d->outcome.words, "longer than") != NULL;
    return d->outcome.verdict == VERDICT_DEFERRED && (strstr(d->outcome.words, "longer than") || strstr(d->outcome.words, "has taken")) &&
           given_up <= plan->hang * (plan->limits.most / 4);
}

static void on_told(struct local_delivery *d)
{
    if (plan->hang ? !fair(d) : d->outcome.verdict != plan->verdict || !strstr(d->outcome.words, plan->words)) {
        fprintf(stderr, "%d %s %s\n", (int)d->outcome.verdict, d->outcome.status, d->outcome.words);
        wrong = true;
    }
    if (++told == plan->count)
        atomic_store(&shared->told, true);
}

static void look_whether_counted(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (atomic_load(&shared->counted))
        (void)event_base_loopexit(events, NULL);
}

static void turns(void)
{
    while (!event_base_got_exit(events)) {
        channels_flush();
        event_base_loop(events, EVLOOP_ONCE);
        if (plan->one_by_one && told == asked && asked < plan->count)
            ask();
    }
}

/* In the process that is postino-local. 0: all was as it should be. */
static int local(void)
{
    struct error error = {0};
    struct sandbox maker = {.uid = LOCAL,
                            .gid = LOCAL,
                            .keep_setuid = true,
                            .open_files = 256,
                            .file_size = RLIM_INFINITY,
                            .calls = SANDBOX_FILES_READ | SANDBOX_FILES_WRITE | SANDBOX_FORK | SANDBOX_PREAD};
    struct sandbox own = {.uid = LOCAL, .gid = LOCAL, .landlock = true, .open_files = 256};
    (void)alarm(200);
    events = event_base_new();
    sandbox_user_database(&own);
    static struct spawner_barred barred = {.count = 1, .uids = {LOCAL - 2}};
    if (spawner_start(&maker, &barred, "h", !privileged, &error) < 0 || sandbox_enter(&own, !privileged, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    is_local = true;
    workers_open(events, &plan->limits);
    struct event *look = event_new(events, -1, EV_PERSIST, look_whether_counted, NULL);
    (void)event_add(look, &(struct timeval){.tv_usec = 5000});
    memset(secret, 'x', sizeof secret);
    for (size_t i = 0; i < plan->count; i++)
        deliveries[i].told = on_told;
    do
        ask();
    while (!plan->one_by_one && asked < plan->count);
    turns();
    if (wrong || told != plan->count || !workers_idle())
        return 2;
    return 0;
}

/* The living children of a process. */
static int children_of(pid_t pid, pid_t *first)
{
    char path[64];
    int n = 0;
    long child;
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    FILE *f = fopen(path, "r");
    while (f && fscanf(f, "%ld", &child) == 1)
        if (n++ == 0)
            *first = (pid_t)child;
    if (f)
        (void)fclose(f);
    return n;
}

static int workers_at_most, workers_at_the_end;

/* Watches it from outside. */
static void run(enum verdict verdict, const char *words, struct plan p)
{
    p.verdict = verdict;
    p.words = words;
    plan = &p;
    hanging = p.hang;
    if (p.limits.most == 0)
        p.limits = (struct workers_limits){.most = 20, .time = act == HANGS || act == SILENT ? 1 : 60, .idle = 60, .messages = 500};
    asked = told = 0;
    atomic_store(&shared->told, false);
    atomic_store(&shared->counted, false);
    pid_t pid = fork();
    if (pid == 0)
        _exit(local());
    int status;
    pid_t spawner = 0;
    workers_at_most = 0;
    uint64_t late = clock_monotonic_ms() + 100000;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        bool all_told = atomic_load(&shared->told);
        int n = spawner || children_of(pid, &spawner) ? children_of(spawner, &(pid_t){0}) : 0;
        workers_at_most = n > workers_at_most ? n : workers_at_most;
        if (all_told && !atomic_load(&shared->counted)) {
            workers_at_the_end = n;
            atomic_store(&shared->counted, !p.until_gone || n == 0 || clock_monotonic_ms() > late);
        }
        (void)usleep(1000);
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void expect(int what, enum verdict verdict, const char *words)
{
    act = what;
    run(verdict, words, (struct plan){.count = 1, .users = 1});
}

static int setup(void **state)
{
    (void)state;
    char path[80];
    act = GOOD;
    (void)snprintf(base, sizeof base, "%s/test_workers.XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(base) || chmod(base, 0755) < 0)
        return -1;
    for (unsigned i = 0; i < 8; i++) {
        (void)snprintf(path, sizeof path, "%s/u%u", base, i);
        if (mkdir(path, 0700) < 0 || (privileged && chown(path, USER + i, USER + i) < 0))
            return -1;
    }
    return privileged ? chown(base, USER, USER) : 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

/* The processes that wrote a user's messages, of `mailbox`, into `pids`; each file must be the user's. Returns how many files there are. */
static size_t written_by(unsigned u, const char *mailbox, pid_t pids[MOST], size_t *n)
{
    char path[512];
    size_t found = 0;
    *n = 0;
    (void)snprintf(path, sizeof path, "%s/u%u/%s/new", base, u, mailbox);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        const char *p = strchr(e->d_name, 'P');
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        found++;
        assert_int_equal(fstatat(dirfd(d), e->d_name, &st, 0), 0);
        if (privileged)
            assert_int_equal(st.st_uid, USER + u);
        pid_t pid = p ? (pid_t)strtol(p + 1, NULL, 10) : 0;
        size_t i = 0;
        while (i < *n && pids[i] != pid)
            i++;
        if (i == *n)
            pids[(*n)++] = pid;
    }
    closedir(d);
    return found;
}

static void needs_root(void)
{
    if (!privileged)
        skip();
}

/* ---- whose, and how many ---------------------------------------------------------------------------------------------------------- */

static void delivers(void **state)
{
    (void)state;
    char words[100];
    (void)snprintf(words, sizeof words, "delivered to %s", base);
    expect(GOOD, VERDICT_DELIVERED, words);
}

static void one_worker_writes_many_messages(void **state)
{
    (void)state;
    pid_t pids[MOST];
    size_t n;
    run(VERDICT_DELIVERED, "", (struct plan){.count = 40, .users = 1});
    assert_int_equal(written_by(0, "Maildir", pids, &n), 40);
    assert_int_equal(n, 1);
}

static void two_users_never_share_a_worker(void **state)
{
    (void)state;
    needs_root();
    pid_t seen[4][MOST];
    size_t n[4];
    run(VERDICT_DELIVERED, "", (struct plan){.count = 40, .users = 4});
    for (unsigned u = 0; u < 4; u++) {
        assert_int_equal(written_by(u, "Maildir", seen[u], &n[u]), 10);
        for (unsigned v = 0; v < u; v++)
            for (size_t i = 0; i < n[u]; i++)
                for (size_t j = 0; j < n[v]; j++)
                    assert_int_not_equal(seen[u][i], seen[v][j]);
    }
}

static void an_owners_mailboxes_share_one(void **state)
{
    (void)state;
    pid_t pids[MOST], first;
    size_t n;
    run(VERDICT_DELIVERED, "", (struct plan){.count = 30, .users = 1, .shared = true});
    assert_int_equal(written_by(0, "box0", pids, &n), 10);
    first = pids[0];
    assert_int_equal(written_by(0, "box1", pids, &n), 10);
    assert_int_equal(pids[0], first);
    assert_int_equal(n, 1);
}

static void there_are_never_more_than_may_be(void **state)
{
    (void)state;
    needs_root();
    pid_t pids[MOST];
    size_t n;
    act = SLOW;
    for (unsigned most = 1; most <= 3; most++) {
        run(VERDICT_DELIVERED, "",
            (struct plan){.count = 32, .users = 8, .limits = {.most = most, .time = 60, .idle = 60, .messages = 500}});
        assert_in_range(workers_at_most, 1, most);
    }
    for (unsigned u = 0; u < 8; u++)
        assert_int_equal(written_by(u, "Maildir", pids, &n), 12);
}

/* With one slot, and eight users who all want it all the time. */
static void the_least_recently_used_goes(void **state)
{
    (void)state;
    needs_root();
    run(VERDICT_DELIVERED, "",
        (struct plan){.count = 24, .users = 8, .one_by_one = true, .limits = {.most = 2, .time = 60, .idle = 60, .messages = 500}});
    assert_int_equal(workers_at_most, 2);
}

static void it_ends_when_it_has_written_enough(void **state)
{
    (void)state;
    pid_t pids[MOST];
    size_t n;
    run(VERDICT_DELIVERED, "", (struct plan){.count = 20, .users = 1, .limits = {.most = 4, .time = 60, .idle = 60, .messages = 3}});
    assert_int_equal(written_by(0, "Maildir", pids, &n), 20);
    assert_in_range(n, 7, 20);
}

static void it_ends_when_it_is_idle(void **state)
{
    (void)state;
    run(VERDICT_DELIVERED, "", (struct plan){.count = 5, .users = 1});
    assert_int_equal(workers_at_the_end, 1);
    struct workers_limits short_idle = {.most = 20, .time = 60, .idle = 1, .messages = 500};
    run(VERDICT_DELIVERED, "", (struct plan){.count = 5, .users = 1, .limits = short_idle, .until_gone = true});
    assert_int_equal(workers_at_the_end, 0);
}

/* ---- what goes wrong -------------------------------------------------------------------------------------------------------------- */

/* Its user may stop it, or its file system may; it is another user's process than the one that ends it. */
static void one_that_hangs_is_ended(void **state)
{
    (void)state;
    expect(HANGS, VERDICT_DEFERRED, "longer than 1 seconds");
}

static void one_that_hangs_takes_all_of_its_own_with_it(void **state)
{
    (void)state;
    act = HANGS;
    run(VERDICT_DEFERRED, "longer than 1 seconds", (struct plan){.count = 40, .users = 1});
}

static void one_that_hangs_holds_a_quarter(void **state)
{
    (void)state;
    needs_root();
    act = FIRST_HANG;
    run(VERDICT_DELIVERED, "",
        (struct plan){.count = MOST, .users = 4, .hang = 1, .limits = {.most = 8, .time = 10, .slow = 3, .idle = 60, .messages = 500}});
}

static void many_that_hang_hold_half(void **state)
{
    (void)state;
    needs_root();
    act = FIRST_HANG;
    run(VERDICT_DELIVERED, "",
        (struct plan){.count = MOST, .users = 8, .hang = 6, .limits = {.most = 8, .time = 12, .slow = 3, .idle = 60, .messages = 500}});
}

static void one_that_crashes(void **state)
{
    (void)state;
    expect(CRASHES, VERDICT_DEFERRED, "ended by signal 6");
}

static void one_that_writes_elsewhere_is_refused(void **state)
{
    (void)state;
    expect(STRAYS, VERDICT_DELIVERED, "delivered");
}

static void one_that_holds_no_edge_of_its_maker(void **state)
{
    (void)state;
    int channel[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, channel), 0);
    expect(HOLDS, VERDICT_DELIVERED, "delivered");
    close(channel[0]);
    close(channel[1]);
}

/* What local reads after its start is in no worker's memory: here `secret` is as it was before. */
static void one_that_knows_nothing_of_its_makers(void **state)
{
    (void)state;
    expect(REMEMBERS, VERDICT_DELIVERED, "delivered");
}

static void answers_that_are_none(void **state)
{
    (void)state;
    expect(FAILS_FOR_GOOD, VERDICT_DEFERRED, "said what it may not");
    expect(ANSWERS_ANOTHER, VERDICT_DEFERRED, "said what it may not");
    expect(FLOODS, VERDICT_DEFERRED, "ended with status");
    expect(SILENT, VERDICT_DEFERRED, "longer than 1 seconds");
}

/* The spawner believes local nothing. */
static void orders_that_are_not_obeyed(void **state)
{
    (void)state;
    static const int nonsense[] = {NO_TEXT, NO_COUNT, CLIMBS}, refused[] = {ROOTS_GROUP, IN_ROOTS_GROUP, ROOT, BARRED};
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
        run(VERDICT_DEFERRED, "no process for a delivery: Invalid argument", (struct plan){.count = 1, .users = 1, .order = nonsense[i]});
    needs_root();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        run(VERDICT_DEFERRED, "no process for a delivery: Operation not permitted",
            (struct plan){.count = 2, .users = 1, .order = refused[i]});
}

/* ---- a worker, asked by hand ------------------------------------------------------------------------------------------------------ */

static void ask_for(int fd, const char *mailbox, enum verdict verdict, const char *words)
{
    struct buf frame = BUF_EMPTY(4096);
    struct message m = {.type = MESSAGE_WRITE, .id = 9, .fd = -1};
    struct error error;
    char answer[4096];
    size_t used;
    bool wants_fd;
    m.write.mailbox = span_of(mailbox);
    m.write.body = SPAN_LITERAL("x\r\n");
    assert_true(message_encode(&frame, &m));
    assert_int_equal(write(fd, frame.data, frame.len), frame.len);
    buf_free(&frame);
    ssize_t n = read(fd, answer, sizeof answer);
    assert_true(n > 0);
    assert_int_equal(message_decode(span_make(answer, (size_t)n), 1u << PROTOCOL_LOCAL_WORKER, SIDE_SERVER, &m, &used, &wants_fd, &error),
                     1);
    assert_int_equal(m.id, 9);
    assert_int_equal(m.written.verdict, verdict);
    char said[600];
    (void)snprintf(said, sizeof said, "%.*s", SPAN_ARG(m.written.words));
    if (!strstr(said, words))
        fail_msg("\"%s\" is not in \"%s\"", words, said);
}

static int worker_of(const char *path)
{
    int ends[2];
    static struct mailbox where;
    where = (struct mailbox){.uid = privileged ? USER : geteuid(), .gid = USER};
    (void)snprintf(where.base, sizeof where.base, "%s/u0", base);
    (void)snprintf(where.path, sizeof where.path, "%s", path);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    if (fork() == 0) {
        (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* as its spawner is */
        worker_run(&where, "h", !privileged, ends[1]);
    }
    close(ends[1]);
    return ends[0];
}

static void link_to(const char *target, const char *name)
{
    char to[200], path[200];
    (void)snprintf(to, sizeof to, "%s/%s", base, target);
    (void)snprintf(path, sizeof path, "%s/u0/%s", base, name);
    assert_int_equal(symlink(to, path), 0);
    if (privileged)
        assert_int_equal(lchown(path, USER, USER), 0);
}

static void one_that_is_asked_for_the_mailbox_of_another(void **state)
{
    (void)state;
    pid_t pids[MOST];
    size_t n;
    link_to("u1", "link");
    link_to("u0/Maildir", "own");
    int fd = worker_of("Maildir");
    ask_for(fd, "Maildir", VERDICT_DELIVERED, "delivered");
    ask_for(fd, "Other", VERDICT_DEFERRED, "for another one");
    ask_for(fd, "../u1/Maildir", VERDICT_DEFERRED, "no path");
    ask_for(fd, "Maildir", VERDICT_DELIVERED, "delivered");
    close(fd);
    fd = worker_of("");
    ask_for(fd, "../u1/Maildir", VERDICT_DEFERRED, "no path");
    ask_for(fd, "/etc", VERDICT_DEFERRED, "no path");
    ask_for(fd, "link", 0, "not from here");
    ask_for(fd, "link/Maildir", 0, "not from here");
    ask_for(fd, "own", 0, "not from here");
    ask_for(fd, "Other", VERDICT_DELIVERED, "delivered");
    close(fd);
    if (privileged) {
        fd = worker_of("link");
        ask_for(fd, "link", VERDICT_DEFERRED, "a symbolic link to a directory of another user");
        close(fd);
    }
    fd = worker_of("own");
    ask_for(fd, "own", VERDICT_DELIVERED, "delivered");
    close(fd);
    while (wait(NULL) > 0)
        ;
    assert_int_equal(written_by(0, "Maildir", pids, &n), 3);
    assert_int_equal(written_by(0, "Other", pids, &n), 1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(delivers),
        T(one_worker_writes_many_messages),
        T(two_users_never_share_a_worker),
        T(an_owners_mailboxes_share_one),
        T(there_are_never_more_than_may_be),
        T(the_least_recently_used_goes),
        T(it_ends_when_it_has_written_enough),
        T(it_ends_when_it_is_idle),
        T(one_that_hangs_is_ended),
        T(one_that_hangs_takes_all_of_its_own_with_it),
        T(one_that_hangs_holds_a_quarter),
        T(many_that_hang_hold_half),
        T(one_that_crashes),
        T(one_that_writes_elsewhere_is_refused),
        T(one_that_holds_no_edge_of_its_maker),
        T(one_that_knows_nothing_of_its_makers),
        T(answers_that_are_none),
        T(orders_that_are_not_obeyed),
        T(one_that_is_asked_for_the_mailbox_of_another),
    };
    privileged = geteuid() == 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    log_open("test", dup(STDERR_FILENO), LOG_TO_STDERR, LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
