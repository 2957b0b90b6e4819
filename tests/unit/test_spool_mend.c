/* A repair that is cut off at any call: nothing is lost, and the next repair ends as if none had been cut off.
 *
 * A spool with messages in the log and in files is made and damaged once. For each system call of its repair a child process repairs a copy of it up
 * to that call. Then the power goes: what was written and not flushed is gone, and names that are not flushed may be what they were before. */
#include "admin/spool_mend.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SEGMENT  65536
#define FIRST_ID ((uint64_t)1 << 40)
#define SMALL    14 /* messages, in the log */
#define ALL      16 /* the last two are in files */
#define LARGE    60000

static char base[64], made[96], copy[96];
static struct spool *spool;

static void shell(const char *command)
{
    assert_int_equal(setenv("BASE", base, 1), 0);
    assert_int_equal(system(command), 0); /* NOLINT: our own words */
}

/* ---- the power --------------------------------------------------------------------------------------------------- */

struct change {
    enum { MADE, RENAMED, UNLINKED } kind;
    char from[400], to[400]; /* UNLINKED: `from` was kept as `to` */
    bool flushed_from, flushed_to;
};

static struct {
    int root;
    unsigned calls, cut_at, names_lost; /* of 3: 0 all that can be, 1 the half, 2 none */
    struct change changes[600];
    size_t count;
    char dirty[64][400]; /* files with octets that are not flushed */
    size_t dirty_count;
} media;

static void path_of(int fd, char out[400])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, 399);
    out[n > 0 ? n : 0] = '\0';
}

static void full(char out[400], const char *path)
{
    snprintf(out, 400, "%s/%.250s", copy, path);
}

static void parent_of(const char *path, char out[400])
{
    snprintf(out, 400, "%.*s", (int)(strrchr(path, '/') - path), path);
}

static void undo(const struct change *c)
{
    if (c->kind == MADE)
        (void)(unlink(c->from) == 0 || rmdir(c->from) == 0);
    else
        (void)!rename(c->to, c->from);
}

/* Octets first, as names may go back to files that lost them. */
static void power_cut(void)
{
    size_t pending = 0, undone = 0;
    for (size_t i = 0; i < media.dirty_count; i++)
        (void)!truncate(media.dirty[i], 0);
    for (size_t i = 0; i < media.count; i++)
        pending += !media.changes[i].flushed_from || !media.changes[i].flushed_to;
    for (size_t i = media.count; i-- > 0;) {
        const struct change *c = &media.changes[i];
        if (c->flushed_from && c->flushed_to)
            continue;
        if (media.names_lost == 0 || (media.names_lost == 1 && undone++ < pending / 2))
            undo(c);
    }
    _exit(0);
}

static void call(void)
{
    if (++media.calls == media.cut_at)
        power_cut();
}

static void changed(int kind, const char *from, const char *to)
{
    assert_true(media.count < sizeof media.changes / sizeof *media.changes);
    struct change *c = &media.changes[media.count++];
    *c = (struct change){.kind = kind, .flushed_to = kind != RENAMED};
    snprintf(c->from, sizeof c->from, "%s", from);
    snprintf(c->to, sizeof c->to, "%s", to);
    for (size_t i = 0; i < media.dirty_count; i++) {
        if (kind == RENAMED && strcmp(media.dirty[i], from) == 0)
            snprintf(media.dirty[i], sizeof media.dirty[i], "%s", to);
    }
}

static int m_openat(int directory, const char *path, int flags, mode_t mode)
{
    char name[400];
    bool is_new = flags & O_CREAT && faccessat(directory, path, F_OK, 0) != 0;
    if (flags & O_CREAT)
        call();
    int fd = disk_real.openat(directory, path, flags, mode);
    full(name, path);
    if (is_new && fd >= 0)
        changed(MADE, name, "");
    return fd;
}

static void dirty(int fd)
{
    char name[400];
    path_of(fd, name);
    for (size_t i = 0; i < media.dirty_count; i++) {
        if (strcmp(media.dirty[i], name) == 0)
            return;
    }
    assert_true(media.dirty_count < sizeof media.dirty / sizeof *media.dirty);
    snprintf(media.dirty[media.dirty_count++], 400, "%s", name);
}

static ssize_t m_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    call();
    dirty(fd);
    return disk_real.pwritev(fd, parts, count, offset);
}

static int m_fdatasync(int fd)
{
    char name[400];
    call();
    path_of(fd, name);
    for (size_t i = 0; i < media.dirty_count; i++) {
        if (strcmp(media.dirty[i], name) == 0)
            snprintf(media.dirty[i], 400, "%s", media.dirty[--media.dirty_count]);
    }
    return 0;
}

static int m_fsync(int fd)
{
    char name[400], parent[400];
    call();
    path_of(fd, name);
    for (size_t i = 0; i < media.count; i++) {
        struct change *c = &media.changes[i];
        parent_of(c->from, parent);
        c->flushed_from |= strcmp(parent, name) == 0;
        if (c->kind == RENAMED)
            parent_of(c->to, parent);
        c->flushed_to |= c->kind == RENAMED && strcmp(parent, name) == 0;
    }
    return 0;
}

static int m_renameat(int directory, const char *from, const char *to)
{
    char a[400], b[400];
    call();
    full(a, from);
    full(b, to);
    if (disk_real.renameat(directory, from, to) != 0)
        return -1;
    changed(RENAMED, a, b);
    return 0;
}

static int m_unlinkat(int directory, const char *path)
{
    char name[400], kept[400];
    (void)directory;
    call();
    full(name, path);
    snprintf(kept, sizeof kept, "%s/unlinked-%zu", base, media.count);
    if (rename(name, kept) != 0)
        return -1;
    changed(UNLINKED, name, kept);
    return 0;
}

static int m_mkdirat(int directory, const char *path)
{
    char name[400];
    call();
    full(name, path);
    if (disk_real.mkdirat(directory, path) != 0)
        return -1;
    changed(MADE, name, "");
    return 0;
}

static int m_ftruncate(int fd, off_t size)
{
    call();
    return disk_real.ftruncate(fd, size);
}

static struct disk_ops media_ops(void)
{
    struct disk_ops ops = disk_real;
    ops.openat = m_openat;
    ops.pwritev = m_pwritev;
    ops.fdatasync = m_fdatasync;
    ops.fsync = m_fsync;
    ops.renameat = m_renameat;
    ops.unlinkat = m_unlinkat;
    ops.mkdirat = m_mkdirat;
    ops.ftruncate = m_ftruncate;
    return ops;
}

/* ---- the spool that is damaged ----------------------------------------------------------------------------------- */

static void turn(int ms)
{
    struct pollfd p = {.fd = spool_fd(spool), .events = POLLIN};
    spool_turn(spool);
    poll(&p, 1, ms);
    spool_turn(spool);
}

static void answered(int status, void *arg)
{
    *(int *)arg = status;
}

static size_t body_of(uint64_t n, char *out)
{
    size_t octets = n < SMALL ? 3000 + 300 * n : LARGE;
    for (size_t i = 0; i < octets; i++)
        out[i] = (char)(' ' + (i * 7 + n) % 90);
    return octets;
}

static void put(uint64_t n)
{
    static char body[LARGE];
    struct buf recipients = BUF_EMPTY(0);
    struct record_recipient r = {
        .address = SPAN_LITERAL("a@example.org"), .transport = SPAN_LITERAL("smtp"), .nexthop = SPAN_LITERAL("example.net")};
    int status = -1;
    record_recipient_add(&recipients, &r);
    record_recipient_add(&recipients, &r);
    struct spool_envelope e = {.id = FIRST_ID + n, .arrived = 1, .sender = SPAN_LITERAL("s@example.com")};
    e.recipients = (struct list){.count = 2, .bytes = buf_span(&recipients)};
    size_t octets = body_of(n, body);
    spool_put(spool, &e, span_make(body, octets), answered, &status);
    while (status == -1)
        turn(20);
    assert_int_equal(status, 0);
    buf_free(&recipients);
}

static void settle(uint64_t n)
{
    struct spool_state s = {.index = 1, .state = RECIPIENT_DONE, .verdict = VERDICT_RELAYED, .attempts = 7};
    spool_settle(spool, FIRST_ID + n, &s, 1);
}

static void until_idle(void)
{
    while (!spool_idle(spool))
        turn(20);
}

static void none(const struct spool_envelope *e, const struct spool_state *s, size_t count, void *arg)
{
    (void)e, (void)s, (void)count, (void)arg;
}

static void open_made(void)
{
    struct error error;
    int fd = open(made, O_RDONLY | O_DIRECTORY);
    spool = spool_open(fd, 0, &error);
    assert_non_null(spool);
    assert_true(spool_recover(spool, none, NULL, &error) >= 0);
}

static void make_log(void)
{
    spool_log_size(SEGMENT);
    open_made();
    while (!spool_log_ready(spool))
        turn(5);
    for (uint64_t n = 0; n < SMALL; n++) {
        put(n);
        for (int i = 0; i < 3; i++)
            turn(5); /* the next segment is made ahead */
        if (n % 3 == 0)
            settle(n);
        if (n == SMALL / 2)
            until_idle();
    }
    spool_remove(spool, FIRST_ID + 4);
    until_idle();
    spool_close(spool);
}

/* A place below 0 counts from the end. */
static void flip(const char *path, off_t at)
{
    char name[300], octet;
    snprintf(name, sizeof name, "%s/%s", made, path);
    int fd = open(name, O_RDWR);
    if (at < 0)
        at += lseek(fd, 0, SEEK_END);
    assert_int_equal(pread(fd, &octet, 1, at), 1);
    octet ^= 1;
    assert_int_equal(pwrite(fd, &octet, 1, at), 1);
    close(fd);
}

/* A body in the log, a body in a file, a settlement in a file; the version. The second batch of the first segment has message 1. */
static void damage(void)
{
    char path[SPOOL_PATH];
    flip("log/00", 2 * 4096 + 500);
    spool_path(path, SPOOL_IN_MSG, FIRST_ID + SMALL);
    flip(path, 64 + 1000);
    spool_path(path, SPOOL_IN_MSG, FIRST_ID + SMALL + 1);
    flip(path, -10);
    flip("version", 3);
}

static int make_spool(void **state)
{
    (void)state;
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(base, sizeof base, "%s/test_spool_mend.XXXXXX", tmp);
    assert_non_null(mkdtemp(base));
    snprintf(made, sizeof made, "%s/made", base);
    snprintf(copy, sizeof copy, "%s/copy", base);
    assert_int_equal(mkdir(made, 0700), 0);
    spool_log_size(0);
    open_made();
    put(SMALL);
    put(SMALL + 1);
    settle(SMALL + 1);
    spool_close(spool);
    make_log();
    damage();
    return 0;
}

static int remove_spool(void **state)
{
    (void)state;
    shell("rm -rf \"$BASE\"");
    return 0;
}

/* ---- what is in a spool ------------------------------------------------------------------------------------------ */

static struct have {
    bool there, doubly, in_log;
    uint32_t attempts;
} have[ALL];
static unsigned damaged;

static void found(const struct finding *f, void *arg)
{
    (void)arg;
    damaged += f->kind == FINDING_DAMAGED;
}

static int message(const struct survey_message *m, void *arg)
{
    static char wanted[LARGE], body[LARGE];
    (void)arg;
    if (m->copy || !m->whole)
        return 0;
    uint64_t n = m->id - FIRST_ID;
    assert_true(n < ALL);
    size_t octets = body_of(n, wanted);
    assert_int_equal(m->octets, octets);
    assert_int_equal(pread(m->fd, body, octets, (off_t)m->body), (ssize_t)octets);
    assert_memory_equal(body, wanted, octets);
    have[n].doubly |= have[n].there;
    have[n].there = true;
    have[n].in_log = m->place == SURVEY_LOG;
    have[n].attempts = m->f->states[1].attempts;
    return 0;
}

static void survey(int directory)
{
    struct survey_sums sums;
    struct error error;
    struct survey_calls calls = {.finding = found, .message = message};
    memset(have, 0, sizeof have);
    damaged = 0;
    if (spool_survey(directory, &calls, &sums, &error) != 0)
        fail_msg("%s", error.text);
}

/* Message 4 was removed, 1 and SMALL are damaged. The settlement of SMALL + 1 is; the others' hold. */
static void all_is_there(unsigned cut)
{
    for (uint64_t n = 0; n < ALL; n++) {
        bool wanted = n != 4 && n != 1 && n != SMALL;
        if (have[n].there != wanted || have[n].doubly)
            fail_msg("cut %u: message %u is%s there%s", cut, (unsigned)n, have[n].there ? "" : " not", have[n].doubly ? " twice" : "");
        if (wanted && have[n].attempts != (n < SMALL && n % 3 == 0 ? 7 : 0))
            fail_msg("cut %u: message %u has %u attempts", cut, (unsigned)n, have[n].attempts);
    }
}

/* ---- repair ------------------------------------------------------------------------------------------------------ */

static void did(const char *file, const char *what, void *arg)
{
    (void)file, (void)what, (void)arg;
}

static long mend(int directory)
{
    struct error error;
    struct mend_calls calls = {.finding = found, .did = did};
    long n = spool_mend(directory, &calls, &error);
    if (n < 0)
        fail_msg("%s", error.text);
    return n;
}

static int open_copy(void)
{
    shell("rm -rf \"$BASE\"/copy \"$BASE\"/unlinked-*; cp -a \"$BASE\"/made \"$BASE\"/copy");
    int directory = open(copy, O_RDONLY | O_DIRECTORY);
    assert_true(directory >= 0);
    return directory;
}

/* True: it came to its end before the cut. */
static bool mend_until(int directory, unsigned cut, unsigned names_lost)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct disk_ops ops = media_ops();
        disk = &ops;
        media.cut_at = cut;
        media.names_lost = names_lost;
        mend(directory);
        _exit(17);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 17));
    return WEXITSTATUS(status) == 17;
}

static bool has(int directory, const char *prefix, uint64_t n)
{
    char path[64];
    snprintf(path, sizeof path, "%s%s", prefix, n ? queueid_format(FIRST_ID + n).text : "");
    return faccessat(directory, path, F_OK, 0) == 0;
}

/* What was cut off a file is kept, in full. */
static bool has_tail(int directory)
{
    struct stat whole, now, tail;
    char path[SPOOL_PATH], name[SPOOL_PATH + 16], full_path[300];
    spool_path(path, SPOOL_IN_MSG, FIRST_ID + SMALL + 1);
    snprintf(full_path, sizeof full_path, "%s/%s", made, path);
    assert_int_equal(stat(full_path, &whole), 0);
    assert_int_equal(fstatat(directory, path, &now, 0), 0);
    spool_path(path, SPOOL_IN_BAD, FIRST_ID + SMALL + 1);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, i ? "%s.tail.%d" : "%s.tail", path, i);
        if (fstatat(directory, name, &tail, 0) == 0 && tail.st_size > 0 && tail.st_size == whole.st_size - now.st_size)
            return true;
    }
    return false;
}

static void a_repair_keeps_all_that_is_whole(void **state)
{
    (void)state;
    int directory = open_copy();
    survey(directory);
    assert_true(damaged >= 4);
    all_is_there(0);
    assert_true(have[0].in_log && have[13].in_log);
    assert_true(mend(directory) > 0);
    survey(directory);
    assert_int_equal(damaged, 0);
    all_is_there(0);
    assert_false(have[0].in_log);
    assert_true(has(directory, "bad/", 1) && has(directory, "bad/", SMALL) && has(directory, "bad/log-00", 0) &&
                has(directory, "bad/log-01", 0));
    assert_true(has(directory, "bad/version", 0));
    assert_int_equal(mend(directory), 0);
    close(directory);
}

static void a_repair_that_is_cut_off_loses_nothing(void **state)
{
    (void)state;
    unsigned cut = 0;
    for (bool ended = false; !ended;) {
        int directory = open_copy();
        cut++;
        ended = mend_until(directory, cut, cut % 3);
        survey(directory);
        all_is_there(cut);
        mend(directory);
        survey(directory);
        assert_int_equal(damaged, 0);
        all_is_there(cut);
        assert_true(has(directory, "bad/", 1) && has(directory, "bad/", SMALL) && has(directory, "bad/log-00", 0));
        assert_true(has_tail(directory));
        assert_int_equal(mend(directory), 0);
        close(directory);
    }
    assert_true(cut > 100);
}

/* Postino is started in place of the second repair. */
static void recovered(const struct spool_envelope *e, const struct spool_state *s, size_t count, void *arg)
{
    (void)arg;
    assert_int_equal(count, 2);
    struct have *h = &have[e->id - FIRST_ID];
    h->doubly |= h->there;
    h->there = true;
    h->attempts = s[1].attempts;
}

static void a_start_behind_a_repair_that_was_cut_off_loses_nothing(void **state)
{
    (void)state;
    unsigned cut = 0;
    for (bool ended = false; !ended;) {
        struct error error;
        int directory = open_copy();
        cut += 5;
        ended = mend_until(directory, cut, cut % 3);
        memset(have, 0, sizeof have);
        (void)!unlinkat(directory, "version", 0);
        spool = spool_open(directory, 0, &error);
        assert_non_null(spool);
        assert_true(spool_recover(spool, recovered, NULL, &error) >= 0);
        spool_close(spool);
        all_is_there(cut);
        close(directory);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_repair_keeps_all_that_is_whole),
        cmocka_unit_test(a_repair_that_is_cut_off_loses_nothing),
        cmocka_unit_test(a_start_behind_a_repair_that_was_cut_off_loses_nothing),
    };
    return cmocka_run_group_tests(tests, make_spool, remove_spool);
}
