#include "delivery/worker.h"

#include "common/sandbox.h"
#include "delivery/flush.h"
#ifdef POSTINO_TRY
#include "common/try.h"
#endif

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { BATCH_MOST = FLUSH_MOST, IN_MOST = 1 << 20, OUT_MOST = 256 << 10, DESCRIPTORS_MOST = 16 };

struct box {
    struct maildir maildir; /* open when top >= 0 */
    unsigned looked;        /* the batch that looked whether it's still there */
    char path[sizeof((struct mailbox *)NULL)->path];
};

/* One WRITE of the batch; spans in it point into self.in. */
struct piece {
    uint32_t request;
    bool elsewhere;
};

static struct {
    const struct mailbox *where;
    const char *hostname;
    struct local_outcome refusal; /* with a verdict: no delivery is possible here */
    struct box boxes[BATCH_MOST]; /* a worker for one mailbox has the first alone */
    struct maildir_delivery deliveries[BATCH_MOST];
    struct piece pieces[BATCH_MOST];
    size_t count;
    unsigned batch; /* number of this one */
    bool last;      /* the next should go to a new worker */
    int fd;
    int held[DESCRIPTORS_MOST]; /* came, and their frames not yet */
    size_t held_count;
    size_t n, used; /* of in */
    char in[IN_MOST];
} self;

/* ---- to be the owner, and nobody and nowhere else --------------------------------------------------------------------------------- */

static void limit(int what, rlim_t most)
{
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)what, &r) == 0 && (r.rlim_max == RLIM_INFINITY || r.rlim_max > most))
        (void)setrlimit((__rlimit_resource_t)what, &(struct rlimit){most, most});
}

static void set_limits(void)
{
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NPROC, 0);
    limit(RLIMIT_CPU, WORKER_CPU_SECONDS);
    (void)signal(SIGXFSZ, SIG_IGN); /* write says EFBIG */
    (void)signal(SIGTERM, SIG_IGN); /* a service manager's; who made us ends us */
}

static void keep_only(int fd)
{
    if (fd > 3)
        (void)close_range(3, (unsigned)fd - 1, 0);
    (void)close_range((unsigned)(fd < 3 ? 3 : fd + 1), ~0u, 0);
}

static bool alone(void)
{
    return self.where->path[0] != '\0';
}

/* The descriptor to confine ourselves to, -1: nothing can be had here. */
static int open_place(void)
{
    struct box *b = &self.boxes[0];
    if (!alone())
        return maildir_open_base(self.where->base, &self.refusal);
    if (maildir_open(&b->maildir, self.where->base, self.where->path, self.where->uid, true, &self.refusal) < 0)
        return -1;
    (void)snprintf(b->path, sizeof b->path, "%s", self.where->path);
    return b->maildir.top;
}

static void settle_in(bool unprivileged)
{
    const struct mailbox *w = self.where;
    struct error error;
    keep_only(self.fd);
    (void)umask(077);
    set_limits();
    for (size_t i = 0; i < BATCH_MOST; i++)
        self.boxes[i].maildir.top = -1;
    if (!unprivileged && sandbox_become(w->uid, w->gid, w->groups, w->group_count, &error) < 0)
        _exit(EX_NOPERM);
    int place = open_place();
    if (sandbox_confine(place, w->base, &error) < 0)
        _exit(EX_OSERR);
    if (place >= 0 && !alone())
        close(place);
    if (place >= 0 && alone())
        maildir_sweep(&self.boxes[0].maildir, self.hostname);
#ifdef POSTINO_TRY
    try_log("postino-worker", 201);
    try_forbidden("worker");
#endif
}

/* ---- the mailboxes ---------------------------------------------------------------------------------------------------------------- */

/* The one of this path, or the one that was not needed for longest. There are as many as a batch has messages, so it is none of this one's. */
static struct box *box_for(const char *path)
{
    struct box *oldest = &self.boxes[0];
    for (size_t i = 0; i < BATCH_MOST; i++) {
        struct box *b = &self.boxes[i];
        if (b->maildir.top >= 0 && strcmp(b->path, path) == 0)
            return b;
        if (oldest->maildir.top >= 0 && (b->maildir.top < 0 || b->looked < oldest->looked))
            oldest = b;
    }
    return oldest;
}

static bool same_path(const struct box *b, const char *path)
{
    return b->maildir.top >= 0 && strcmp(b->path, path) == 0;
}

static int open_box(struct box *b, const char *path, bool *linked, struct local_outcome *o)
{
    if (b->maildir.top >= 0)
        maildir_close(&b->maildir);
    (void)snprintf(b->path, sizeof b->path, "%s", path);
    b->looked = self.batch;
    int status = maildir_open(&b->maildir, self.where->base, path, self.where->uid, false, o);
    *linked = b->maildir.linked;
    if (status == 0)
        maildir_sweep(&b->maildir, self.hostname);
    return status;
}

/* The mailbox, or NULL: with an outcome, or elsewhere. */
static struct maildir *find_box(const char *path, bool *elsewhere, struct local_outcome *o)
{
    struct box *b = alone() ? &self.boxes[0] : box_for(path);
    bool found = same_path(b, path);
    if (found && (b->looked == self.batch || maildir_still_there(&b->maildir))) {
        b->looked = self.batch;
        return &b->maildir;
    }
    if (!alone())
        return open_box(b, path, elsewhere, o) < 0 ? NULL : &b->maildir;
    if (found)
        *elsewhere = self.last = true; /* Landlock knows the former one only */
    else
        (void)local_deferred(o, "4.3.0", "mailbox %.200s: this process is for another one", path);
    return NULL;
}

/* ---- in --------------------------------------------------------------------------------------------------------------------------- */

static void hold_descriptors(struct msghdr *m)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (n > DESCRIPTORS_MOST - self.held_count)
            _exit(EX_PROTOCOL);
        memcpy(self.held + self.held_count, CMSG_DATA(h), n * sizeof(int));
        self.held_count += n;
    }
}

static void read_more(void)
{
    union {
        char room[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MOST)];
        struct cmsghdr align;
    } control;
    memmove(self.in, self.in + self.used, self.n - self.used);
    self.n -= self.used;
    self.used = 0;
    struct iovec iov = {self.in + self.n, sizeof self.in - self.n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    ssize_t n = iov.iov_len ? recvmsg(self.fd, &m, MSG_CMSG_CLOEXEC) : -1;
    if (n < 0 && iov.iov_len && errno == EINTR)
        return;
    if (n == 0)
        _exit(0);
    if (n < 0 || (m.msg_flags & MSG_CTRUNC))
        _exit(EX_PROTOCOL);
    hold_descriptors(&m);
    self.n += (size_t)n;
}

static int next_descriptor(void)
{
    if (self.held_count == 0)
        _exit(EX_PROTOCOL);
    int fd = self.held[0];
    memmove(self.held, self.held + 1, --self.held_count * sizeof(int));
    return fd;
}

static void take(const struct message *m, int fd)
{
    const struct message_write *w = &m->write;
    struct piece *p = &self.pieces[self.count];
    struct maildir_delivery *d = &self.deliveries[self.count++];
    char path[sizeof self.boxes[0].path];
    *p = (struct piece){.request = m->id};
    d->outcome = self.refusal;
    d->box = NULL;
    d->letter = (struct maildir_letter){.sender = w->sender,
                                        .body = w->body,
                                        .fd = fd,
                                        .offset = w->offset,
                                        .size = w->size,
                                        .binary = w->binary != 0,
                                        .id = w->queue_id,
                                        .index = w->index,
                                        .hostname = self.hostname};
    if (self.refusal.verdict)
        return;
    if (!mailbox_path_ok(w->mailbox) || w->mailbox.n >= sizeof path) {
        (void)local_deferred(&d->outcome, "4.3.0", "mailbox \"%.*s\" is no path", (int)(w->mailbox.n < 200 ? w->mailbox.n : 200),
                             w->mailbox.p);
        return;
    }
    (void)snprintf(path, sizeof path, "%.*s", SPAN_ARG(w->mailbox));
    d->box = find_box(path, &p->elsewhere, &d->outcome);
    if (p->elsewhere)
        (void)local_deferred(&d->outcome, "4.3.0", "mailbox %.200s: not from here", path);
}

/* All that has come, up to BATCH_MOST; waits for the first. */
static void gather(void)
{
    self.count = 0;
    self.batch++;
    for (;;) {
        struct message m;
        struct error error;
        size_t used;
        bool wants_fd;
        int got = self.count == BATCH_MOST ? 0
                                           : message_decode(span_make(self.in + self.used, self.n - self.used), 1u << PROTOCOL_LOCAL_WORKER,
                                                            SIDE_CLIENT, &m, &used, &wants_fd, &error);
        if (got < 0)
            _exit(EX_PROTOCOL);
        if (got == 0 && self.count)
            return;
        if (got == 0) {
            read_more();
            continue;
        }
        take(&m, wants_fd ? next_descriptor() : -1);
        self.used += used;
    }
}

/* ---- out -------------------------------------------------------------------------------------------------------------------------- */

static void send_all(struct span s)
{
    while (s.n) {
        ssize_t n = send(self.fd, s.p, s.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            _exit(0); /* nobody wants to know any more */
        s = span_make(s.p + n, s.n - (size_t)n);
    }
}

static void answer(void)
{
    static struct buf out;
    out.limit = OUT_MOST;
    buf_clear(&out);
    for (size_t i = 0; i < self.count; i++) {
        struct maildir_delivery *d = &self.deliveries[i];
        struct message m = {.type = MESSAGE_WRITTEN, .id = self.pieces[i].request, .fd = -1};
        m.written.verdict = self.pieces[i].elsewhere ? 0 : (uint16_t)d->outcome.verdict;
        m.written.last = self.last;
        m.written.status = span_of(d->outcome.status);
        m.written.words = span_of(d->outcome.words);
        if (!message_encode(&out, &m))
            _exit(EX_SOFTWARE);
        if (d->letter.fd >= 0)
            close(d->letter.fd);
    }
    send_all(buf_span(&out));
}

void worker_run(const struct mailbox *where, const char *hostname, bool unprivileged, int fd)
{
    self.where = where;
    self.hostname = hostname;
    self.fd = fd;
    settle_in(unprivileged);
    self.last = self.refusal.verdict != 0;
    for (;;) {
        gather();
        maildir_deliver(self.deliveries, self.count);
        answer();
    }
}
