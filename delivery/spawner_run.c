/* The spawner's own process: orders in, workers out. */
#include "delivery/spawner_internal.h"
#include "delivery/worker.h"
#ifdef POSTINO_TRY
#include "common/try.h"
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LEAVE_SECONDS = 30 };

static struct {
    struct {
        uint32_t worker;
        pid_t pid; /* 0: free */
        uid_t uid;
    } workers[SPAWNER_WORKERS];
    size_t count;
    const char *hostname;
    const struct spawner_barred *barred;
    sigset_t while_waiting;
    uid_t own;
    int fd;
    bool unprivileged;
} self;

/* ---- reports ---------------------------------------------------------------------------------------------------------------------- */

static void report(const struct spawner_report *r, int fd)
{
    union {
        char room[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)r, sizeof *r};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof fd);
    }
    while (sendmsg(self.fd, &m, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* ---- workers ---------------------------------------------------------------------------------------------------------------------- */

static size_t slot_of(uint32_t worker)
{
    size_t i = 0;
    while (i < SPAWNER_WORKERS && (self.workers[i].pid == 0 || self.workers[i].worker != worker))
        i++;
    return i;
}

static size_t free_slot(void)
{
    size_t i = 0;
    while (i < SPAWNER_WORKERS && self.workers[i].pid)
        i++;
    return i;
}

/* local asks the user database and thinks of these itself; it is asked no less than a stranger. The postino-* users have other files than mail. */
static bool may_be(const struct mailbox *m)
{
    if (self.unprivileged)
        return m->uid == self.own;
    bool ordinary = m->uid != 0 && m->gid != 0;
    for (size_t i = 0; i < m->group_count && ordinary; i++)
        ordinary = m->groups[i] != 0;
    for (size_t i = 0; i < self.barred->count && ordinary; i++)
        ordinary = m->uid != self.barred->uids[i];
    return ordinary;
}

static bool is_text(const char *text, size_t room)
{
    return memchr(text, '\0', room) != NULL;
}

static bool is_order(const struct spawner_order *o)
{
    const struct mailbox *m = &o->where;
    return m->group_count <= MAILBOX_GROUPS && is_text(m->user, sizeof m->user) && is_text(m->base, sizeof m->base) &&
           is_text(m->path, sizeof m->path) && m->base[0] == '/' && (m->path[0] == '\0' || mailbox_path_ok(span_of(m->path)));
}

/* 0, or an errno. */
static int fork_worker(const struct mailbox *where, size_t slot, int ends[2])
{
    if (slot == SPAWNER_WORKERS)
        return EAGAIN;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return errno;
    pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGCHLD, SIG_DFL);
        worker_run(where, self.hostname, self.unprivileged, ends[1]);
    }
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error;
    }
    self.workers[slot].pid = pid;
    self.workers[slot].uid = where->uid;
    self.count++;
    return 0;
}

static void make(const struct spawner_order *o)
{
    size_t slot = free_slot();
    int ends[2] = {-1, -1};
    int error = !is_order(o) ? EINVAL : !may_be(&o->where) ? EPERM : fork_worker(&o->where, slot, ends);
    if (error) {
        report(&(struct spawner_report){.what = SPAWNER_NOT_MADE, .worker = o->worker, .error = error}, -1);
        return;
    }
    self.workers[slot].worker = o->worker;
    report(&(struct spawner_report){.what = SPAWNER_MADE, .worker = o->worker, .pid = self.workers[slot].pid}, ends[0]);
    close(ends[0]);
}

/* A process may end those of its own user only, so we are the worker's user for that one call. The worker can do nothing to us meanwhile:
 * that takes our real and saved user id, which stay. */
static void kill_slot(size_t slot)
{
    uid_t uid = self.workers[slot].uid;
    if (self.unprivileged || self.own == uid) {
        (void)kill(self.workers[slot].pid, SIGKILL);
        return;
    }
    if (setresuid((uid_t)-1, uid, (uid_t)-1) == 0)
        (void)kill(self.workers[slot].pid, SIGKILL);
    if (geteuid() != self.own && setresuid((uid_t)-1, self.own, (uid_t)-1) < 0)
        _exit(EXIT_FAILURE);
}

static void reap(void)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < SPAWNER_WORKERS; i++)
            if (self.workers[i].pid == pid) {
                self.workers[i].pid = 0;
                self.count--;
                report(&(struct spawner_report){.what = SPAWNER_ENDED, .worker = self.workers[i].worker, .pid = pid, .status = status}, -1);
            }
}

/* ---- the loop --------------------------------------------------------------------------------------------------------------------- */

/* A signal says that a worker ended; it comes while we wait, and at no other time. */
static bool wait_for(int fd, int seconds)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    struct timespec most = {.tv_sec = seconds};
    int n = ppoll(&p, fd < 0 ? 0 : 1, seconds < 0 ? NULL : &most, &self.while_waiting);
    reap();
    return n > 0;
}

__attribute__((noreturn)) static void leave(void)
{
    close(self.fd);
    self.fd = -1;
    for (int i = 0; i < LEAVE_SECONDS && self.count; i++)
        (void)wait_for(-1, 1);
    for (size_t i = 0; i < SPAWNER_WORKERS; i++)
        if (self.workers[i].pid)
            kill_slot(i);
    _exit(0);
}

static void obey(void)
{
    static struct spawner_order o;
    ssize_t n = recv(self.fd, &o, sizeof o, MSG_TRUNC);
    if (n < 0 && errno == EINTR)
        return;
    if (n != (ssize_t)sizeof o)
        leave();
    if (o.what == SPAWNER_MAKE) {
        make(&o);
    } else if (o.what == SPAWNER_KILL) {
        size_t slot = slot_of(o.worker);
        if (slot < SPAWNER_WORKERS)
            kill_slot(slot);
    }
}

static void caught(int number)
{
    (void)number;
}

static void hear_of_ends(void)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &ends, &self.while_waiting);
    sigdelset(&self.while_waiting, SIGCHLD);
    (void)sigaction(SIGCHLD, &(struct sigaction){.sa_handler = caught}, NULL);
    (void)signal(SIGTERM, SIG_IGN); /* a service manager's; local's end is ours */
}

static void keep_only(int fd)
{
    if (fd > 3)
        (void)close_range(3, (unsigned)fd - 1, 0);
    (void)close_range((unsigned)fd + 1, ~0u, 0);
}

void spawner_run(const struct sandbox *box, const struct spawner_barred *barred, const char *hostname, bool unprivileged, int fd)
{
    struct spawner_report ready = {.what = SPAWNER_READY};
    self.fd = fd;
    self.hostname = hostname;
    self.barred = barred;
    self.unprivileged = unprivileged;
    keep_only(fd);
#ifdef POSTINO_TRY
    try_log("postino-spawner", 200);
#endif
    hear_of_ends();
    if (sandbox_enter(box, unprivileged, &ready.words) != 0)
        ready.what = SPAWNER_FAILED;
    self.own = geteuid();
    report(&ready, -1);
    for (;;)
        if (wait_for(fd, -1))
            obey();
}
