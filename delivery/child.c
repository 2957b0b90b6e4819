#include "delivery/child.h"

#include "common/log.h"
#include "common/sandbox.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    struct children *children;
    struct event *readable; /* the pipe; NULL: ENDING */
    struct event *timer;    /* RUNNING: its deadline; ENDING: to look again whether it's gone */
    child_done_fn *done;    /* NULL once it was called */
    void *arg;
    pid_t pid;
    uid_t uid;
    int pipe;
    unsigned wait; /* milliseconds to the next poll */
    size_t n;
    char report[LOCAL_REPORT_MAX + 1];
};

/* ---- in the child ---------------------------------------------------------------------------------------------------------------- */

/* One that is below 3 (-1: none) needs no place of its own. */
static void close_all_but(int a, int b)
{
    const int kept[] = {a < b ? a : b, a < b ? b : a};
    unsigned from = 3;
    for (size_t i = 0; i < 2; i++) {
        if (kept[i] < (int)from)
            continue;
        if ((unsigned)kept[i] > from)
            (void)close_range(from, (unsigned)kept[i] - 1, 0);
        from = (unsigned)kept[i] + 1;
    }
    (void)close_range(from, ~0u, 0);
}

static void limit(int what, rlim_t most)
{
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)what, &r) == 0 && (r.rlim_max == RLIM_INFINITY || r.rlim_max > most))
        (void)setrlimit((__rlimit_resource_t)what, &(struct rlimit){most, most});
}

static void set_limits(const struct maildir_letter *l)
{
    rlim_t body = (rlim_t)(l->fd < 0 ? l->body.n : l->size);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NPROC, 0);
    limit(RLIMIT_CPU, CHILD_SECONDS);
    limit(RLIMIT_FSIZE, body + 4096);
    (void)signal(SIGXFSZ, SIG_IGN); /* write says EFBIG */
    (void)signal(SIGTERM, SIG_IGN);
}

static int deliver(const struct mailbox *m, const struct maildir_letter *l, struct local_outcome *o)
{
    struct maildir maildir;
    if (maildir_open(&maildir, m->base, m->path, m->uid, o) < 0)
        return -1;
    struct error error;
    int status = sandbox_confine(maildir.top, maildir.path, &error);
    status = status < 0 ? local_deferred(o, "4.3.0", "%s", error.text) : maildir_deliver(&maildir, l, o);
    maildir_close(&maildir);
    return status;
}

__attribute__((noreturn)) static void run(const struct children *all, int pipe, const struct mailbox *m, const struct maildir_letter *l)
{
    struct local_outcome o;
    struct error error;
    char report[LOCAL_REPORT_MAX];
    close_all_but(pipe, l->fd);
    (void)umask(077);
    set_limits(l);
    if (!all->unprivileged && sandbox_become(m->uid, m->gid, m->groups, m->group_count, &error) < 0)
        (void)local_deferred(&o, "4.3.0", "cannot become user %s: %s", m->user, error.text);
    else
        (void)deliver(m, l, &o);
    size_t n = local_report_make(&o, report);
    _exit(write(pipe, report, n) == (ssize_t)n ? 0 : 1);
}

/* ---- its end --------------------------------------------------------------------------------------------------------------------- */

static void tell(struct child *c, const struct local_outcome *o)
{
    child_done_fn *done = c->done;
    c->done = NULL;
    if (done)
        done(o, c->arg);
}

/* A process may end those of its own user only, so we are the child's user for that one call. The child can do nothing to us meanwhile:
 * that takes our real and saved user id, which stay. */
static void kill_child(const struct child *c)
{
    uid_t self = geteuid();
    if (c->children->unprivileged || self == c->uid) {
        (void)kill(c->pid, SIGKILL);
        return;
    }
    if (setresuid((uid_t)-1, c->uid, (uid_t)-1) == 0)
        (void)kill(c->pid, SIGKILL);
    if (geteuid() != self && setresuid((uid_t)-1, self, (uid_t)-1) < 0)
        log_die("cannot be uid %u again: %s", (unsigned)self, strerror(errno));
}

static void tell_end(struct child *c, int status)
{
    struct local_outcome o;
    if (WIFSIGNALED(status))
        (void)local_deferred(&o, "4.3.0", "the delivery process was ended by signal %d; see the log", WTERMSIG(status));
    else
        (void)local_deferred(&o, "4.3.0", "the delivery process ended with status %d and said nothing of use", WEXITSTATUS(status));
    log_warning("a delivery process ended unexpectedly: pid=%ld uid=%u status=%#x", (long)c->pid, (unsigned)c->uid, (unsigned)status);
    tell(c, &o);
}

static void set_timer(struct child *c)
{
    struct timeval t = {.tv_sec = c->wait / 1000, .tv_usec = (suseconds_t)(c->wait % 1000) * 1000};
    (void)evtimer_add(c->timer, &t);
    c->wait = c->wait * 2 > 1000 ? 1000 : c->wait * 2;
}

static void gone(struct child *c)
{
    struct children *all = c->children;
    event_free(c->timer);
    free(c);
    all->count--;
    all->freed();
}

static void reap(struct child *c)
{
    int status = 0;
    pid_t pid = waitpid(c->pid, &status, WNOHANG);
    if (pid == 0 || (pid < 0 && errno == EINTR)) {
        set_timer(c);
        return;
    }
    if (c->done)
        tell_end(c, status);
    gone(c);
}

static void ending(struct child *c)
{
    event_free(c->readable);
    c->readable = NULL;
    close(c->pipe);
    reap(c);
}

static void too_late(struct child *c)
{
    struct local_outcome o;
    log_warning("a delivery process took too long and is ended: pid=%ld uid=%u seconds=%u", (long)c->pid, (unsigned)c->uid,
                c->children->seconds);
    kill_child(c);
    (void)local_deferred(&o, "4.3.0", "the delivery took longer than %u seconds; see whether the mailbox's file system answers",
                         c->children->seconds);
    tell(c, &o);
    ending(c);
}

static void timer(evutil_socket_t fd, short what, void *arg)
{
    struct child *c = arg;
    (void)fd, (void)what;
    if (c->readable)
        too_late(c);
    else
        reap(c);
}

static void readable(evutil_socket_t fd, short what, void *arg)
{
    struct child *c = arg;
    struct local_outcome o;
    (void)what;
    ssize_t n = read(fd, c->report + c->n, sizeof c->report - c->n);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && (c->n += (size_t)n) < sizeof c->report)
        return;
    if (n == 0 && local_report_parse(span_make(c->report, c->n), &o))
        tell(c, &o);
    else
        kill_child(c);
    ending(c);
}

/* ---- its beginning --------------------------------------------------------------------------------------------------------------- */

static struct child *child_new(struct children *all, int pipe, uid_t uid, child_done_fn *done, void *arg)
{
    struct child *c = calloc(1, sizeof *c);
    if (!c)
        log_die("out of memory for a delivery");
    *c = (struct child){.children = all, .pipe = pipe, .uid = uid, .done = done, .arg = arg, .wait = 1};
    c->readable = event_new(all->base, pipe, EV_READ | EV_PERSIST, readable, c);
    c->timer = evtimer_new(all->base, timer, c);
    if (!c->readable || !c->timer || event_add(c->readable, NULL) < 0 ||
        evtimer_add(c->timer, &(struct timeval){.tv_sec = all->seconds}) < 0)
        log_die("out of memory for a delivery");
    all->count++;
    return c;
}

int child_start(struct children *all, const struct mailbox *m, const struct maildir_letter *l, child_done_fn *done, void *arg,
                struct local_outcome *o)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return local_deferred(o, "4.3.0", "no pipe for a delivery process: %s", strerror(errno));
    log_flush(); /* or the child would have the lines as well */
    pid_t pid = fork();
    if (pid == 0)
        run(all, ends[1], m, l);
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return local_deferred(o, "4.3.0", "no process for a delivery: %s", strerror(error));
    }
    child_new(all, ends[0], m->uid, done, arg)->pid = pid;
    return 0;
}
