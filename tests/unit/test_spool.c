/* spool: what was acknowledged is there afterwards, whatever fails, and wherever the power goes.
 *
 * The disk under test is a directory, seen through a table of system calls that can fail at any call, and that knows what was flushed:
 * power_cut() takes away all that was not. */
#include "common/log.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/spool.h"
#include "qmgr/spool_file.h"
#include "qmgr/spool_format.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a disk that fails, and that forgets ------------------------------------------------------------------------- */

enum fault { FAULT_NONE, FAULT_ONCE, FAULT_FOREVER, FAULT_SHORT_WRITE, FAULT_STUTTER };

struct known_file {
    char path[256];
    uint64_t flushed; /* octets */
    bool named;       /* its directory was flushed since it was made */
};

static struct {
    enum fault fault;
    int error;
    unsigned calls, fail_at; /* fail_at 0: never */
    struct known_file files[64];
    size_t file_count;
} faulty;

static uint64_t free_octets = UINT64_MAX / 2; /* what the disk says; writing makes it less */
static char root_path[64];
static int root_fd = -1;

static bool fails_now(void)
{
    faulty.calls++;
    if (faulty.fail_at == 0 || faulty.calls < faulty.fail_at || (faulty.calls > faulty.fail_at && faulty.fault != FAULT_FOREVER))
        return false;
    errno = faulty.error;
    return true;
}

static struct known_file *known(const char *path, bool make)
{
    for (size_t i = 0; i < faulty.file_count; i++)
        if (strcmp(faulty.files[i].path, path) == 0)
            return &faulty.files[i];
    if (!make)
        return NULL;
    assert_true(faulty.file_count < 64);
    struct known_file *f = &faulty.files[faulty.file_count++];
    *f = (struct known_file){.flushed = 0};
    snprintf(f->path, sizeof f->path, "%s", path);
    return f;
}

static void path_of(int fd, char out[256])
{
    char link[64], full[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, full, sizeof full - 1);
    full[n > 0 ? n : 0] = '\0';
    size_t skip = strlen(root_path);
    snprintf(out, 256, "%s", strlen(full) > skip ? full + skip + 1 : ".");
}

static uint64_t size_of(int fd)
{
    uint64_t size = 0;
    assert_int_equal(disk_real.size(fd, &size), 0);
    return size;
}

static int f_openat(int directory, const char *path, int flags, mode_t mode)
{
    if (fails_now())
        return -1;
    int fd = disk_real.openat(directory, path, flags, mode);
    if (fd >= 0 && flags & O_CREAT)
        known(path, true);
    return fd;
}

static ssize_t f_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    bool fail = fails_now();
    struct iovec half = {.iov_base = parts[0].iov_base, .iov_len = (parts[0].iov_len + 1) / 2};
    char path[256];
    if (fail && faulty.fault == FAULT_STUTTER) /* writes less than it was given, as the call may */
        return disk_real.pwritev(fd, &half, 1, offset);
    path_of(fd, path);
    if (fail && faulty.fault == FAULT_SHORT_WRITE) {
        int error = errno;
        disk_real.pwritev(fd, &half, 1, offset);
        errno = error;
    }
    ssize_t n = fail ? -1 : disk_real.pwritev(fd, parts, count, offset);
    if (n > 0)
        free_octets -= (uint64_t)n < free_octets ? (uint64_t)n : free_octets;
    return n;
}

static ssize_t f_pread(int fd, void *to, size_t n, off_t offset)
{
    return fails_now() ? -1 : disk_real.pread(fd, to, n, offset);
}

static int f_fdatasync(int fd)
{
    if (fails_now())
        return -1;
    char path[256];
    path_of(fd, path);
    known(path, true)->flushed = size_of(fd);
    return 0;
}

static int f_fsync(int fd)
{
    if (fails_now())
        return -1;
    char path[256];
    path_of(fd, path);
    size_t n = strlen(path);
    for (size_t i = 0; i < faulty.file_count; i++)
        if (strncmp(faulty.files[i].path, path, n) == 0 && faulty.files[i].path[n] == '/')
            faulty.files[i].named = true;
    return 0;
}

static int f_ftruncate(int fd, off_t size)
{
    return fails_now() ? -1 : disk_real.ftruncate(fd, size);
}

static int f_linkat(int directory, const char *from, const char *to)
{
    if (fails_now() || disk_real.linkat(directory, from, to) != 0)
        return -1;
    known(to, true)->flushed = known(from, true)->flushed;
    return 0;
}

static int f_renameat(int directory, const char *from, const char *to)
{
    return fails_now() ? -1 : disk_real.renameat(directory, from, to);
}

static int f_unlinkat(int directory, const char *path)
{
    return fails_now() ? -1 : disk_real.unlinkat(directory, path);
}

static int f_mkdirat(int directory, const char *path)
{
    return fails_now() ? -1 : disk_real.mkdirat(directory, path);
}

static int f_size(int fd, uint64_t *size)
{
    return fails_now() ? -1 : disk_real.size(fd, size);
}

static int f_close(int fd)
{
    return close(fd); /* always closes, whatever it says */
}

static int f_write_back(int fd)
{
    (void)fd;
    return 0;
}

static int f_free_space(int fd, uint64_t *octets)
{
    (void)fd;
    *octets = free_octets;
    return 0;
}

static const struct disk_ops faulty_ops = {
    .openat = f_openat,
    .close = f_close,
    .pwritev = f_pwritev,
    .pread = f_pread,
    .write_back = f_write_back,
    .fdatasync = f_fdatasync,
    .fsync = f_fsync,
    .ftruncate = f_ftruncate,
    .linkat = f_linkat,
    .renameat = f_renameat,
    .unlinkat = f_unlinkat,
    .mkdirat = f_mkdirat,
    .size = f_size,
    .free_space = f_free_space,
};

/* What was never flushed is gone: names that their directory does not have, and the ends of files (as zeros: the worst that a file system
 * leaves). */
static void power_cut(void)
{
    for (size_t i = 0; i < faulty.file_count; i++) {
        struct known_file *f = &faulty.files[i];
        if (strncmp(f->path, "msg/", 4) != 0)
            continue;
        int fd = openat(root_fd, f->path, O_RDWR);
        if (fd < 0)
            continue;
        if (!f->named)
            unlinkat(root_fd, f->path, 0);
        uint64_t size = size_of(fd);
        assert_int_equal(ftruncate(fd, (off_t)(f->flushed < size ? f->flushed : size)), 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        close(fd);
    }
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

#define ID(n) (((uint64_t)0x123456 << 20) + (n))

static struct spool *spool;

static void answered(int status, void *arg)
{
    *(int *)arg = status;
}

static void turn_until(const int *status)
{
    for (int i = 0; i < 6000 && *status < 0; i++) {
        spool_turn(spool);
        struct pollfd p = {.fd = spool_fd(spool), .events = POLLIN};
        if (*status < 0)
            poll(&p, 1, 10);
    }
    assert_true(*status >= 0);
}

static void turn_until_idle(void)
{
    spool_hurry(spool);
    for (int i = 0; i < 40 && !spool_idle(spool); i++) {
        spool_turn(spool);
        struct pollfd p = {.fd = spool_fd(spool), .events = POLLIN};
        if (!spool_idle(spool))
            poll(&p, 1, 1);
    }
}

static void envelope_make(struct spool_envelope *e, uint64_t id, struct buf *recipients)
{
    *recipients = BUF_EMPTY(0);
    const char *addresses[2] = {"one@example.org", "two@example.net"};
    for (size_t i = 0; i < 2; i++) {
        struct record_recipient r = {.address = span_of(addresses[i]),
                                     .orcpt = i ? SPAN_LITERAL("rfc822;zwei@example.net") : SPAN_LITERAL(""),
                                     .notify = i ? NOTIFY_FAILURE : 0,
                                     .transport = SPAN_LITERAL("smtp"),
                                     .nexthop = SPAN_LITERAL("example.net:26"),
                                     .tls = SPAN_LITERAL("may")};
        record_recipient_add(recipients, &r);
    }
    *e = (struct spool_envelope){.id = id,
                                 .arrived = 1234567890123456,
                                 .parent = 77,
                                 .ret = RET_HDRS,
                                 .flags = ENVELOPE_8BIT,
                                 .flow = SPAN_LITERAL("alice"),
                                 .sender = SPAN_LITERAL("sender@example.com"),
                                 .envid = SPAN_LITERAL("envid"),
                                 .recipients = {.count = 2, .bytes = buf_span(recipients)}};
}

static int put(uint64_t id, const char *body)
{
    struct buf recipients;
    struct spool_envelope e;
    int status = -1;
    envelope_make(&e, id, &recipients);
    spool_put(spool, &e, span_of(body), answered, &status);
    buf_free(&recipients);
    turn_until(&status);
    return status;
}

static int append(uint64_t id, const char *piece)
{
    int status = -1;
    spool_append(spool, id, span_of(piece), answered, &status);
    turn_until(&status);
    return status;
}

static void settle(uint64_t id, uint32_t index, enum recipient_state state, uint32_t attempts)
{
    struct spool_state s = {.index = index,
                            .state = (uint16_t)state,
                            .verdict = VERDICT_DEFERRED,
                            .attempts = attempts,
                            .due = 5000 + attempts,
                            .status = SPAN_LITERAL("4.2.0"),
                            .reason = SPAN_LITERAL("not now")};
    spool_settle(spool, id, &s, 1);
}

/* ---- what stands behind the recipients -------------------------------------------------------------------------- */

static void an_envelope_without_times_is_what_it_was_before_there_were_any(void **state)
{
    (void)state;
    struct buf recipients, out = BUF_EMPTY(0), again = BUF_EMPTY(0);
    struct spool_envelope e, read;
    envelope_make(&e, 5, &recipients);
    spool_envelope_encode(&e, &out);
    size_t bare = out.len;
    assert_true(spool_envelope_decode(buf_span(&out), 5, &read, &again));
    assert_int_equal(read.times.release + read.times.deliver_by + read.times.by_mode + read.times.mt_priority, 0);
    buf_clear(&again);
    e.times = (struct spool_times){.release = 1800000000, .deliver_by = 1800003600, .by_mode = BY_NOTIFY | BY_TRACE, .mt_priority = 19};
    buf_clear(&out);
    spool_envelope_encode(&e, &out);
    assert_int_equal(out.len, bare + 4 * 8);
    assert_true(spool_envelope_decode(buf_span(&out), 5, &read, &again));
    assert_int_equal(read.times.release, 1800000000);
    assert_int_equal(read.times.deliver_by, 1800003600);
    assert_int_equal(read.times.by_mode, BY_NOTIFY | BY_TRACE);
    assert_int_equal(read.times.mt_priority, 19);
    assert_int_equal(read.recipients.count, 2);
    buf_free(&recipients);
    buf_free(&out);
    buf_free(&again);
}

/* What is read of the octets `extra` behind an envelope; false: nothing. */
static bool behind(const void *extra, size_t n, struct spool_times *times)
{
    struct buf recipients, out = BUF_EMPTY(0), again = BUF_EMPTY(0);
    struct spool_envelope e, read;
    envelope_make(&e, 5, &recipients);
    spool_envelope_encode(&e, &out);
    buf_add(&out, extra, n);
    bool good = spool_envelope_decode(buf_span(&out), 5, &read, &again);
    *times = read.times;
    buf_free(&recipients);
    buf_free(&out);
    buf_free(&again);
    return good;
}

static void what_stands_behind_recipients_is_known_skipped_or_refused(void **state)
{
    (void)state;
    struct spool_times t;
    static const unsigned char unknown[] = {99, 0, 3, 0, 'a', 'b', 'c', 1, 0, 4, 0, 1, 2, 3, 4, 98, 0, 0, 0};
    static const unsigned char cut[] = {1, 0, 4, 0, 1, 2, 3}, wrong_size[] = {1, 0, 2, 0, 1, 2}, head[] = {1, 0, 4},
                               both[] = {2, 0, 4, 0, 9, 9, 9, 9, 3, 0, 4, 0, 3, 0, 0, 0}, no_mode[] = {2, 0, 4, 0, 9, 9, 9, 9},
                               no_deadline[] = {3, 0, 4, 0, 1, 0, 0, 0}, trace_alone[] = {2, 0, 4, 0, 9, 9, 9, 9, 3, 0, 4, 0, 4, 0, 0, 0},
                               large_mode[] = {2, 0, 4, 0, 9, 9, 9, 9, 3, 0, 4, 0, 1, 1, 0, 0}, priority[] = {4, 0, 4, 0, 20, 0, 0, 0};
    assert_true(behind(unknown, sizeof unknown, &t));
    assert_int_equal(t.release, 0x04030201);
    assert_false(behind(cut, sizeof cut, &t));
    assert_false(behind(wrong_size, sizeof wrong_size, &t));
    assert_false(behind(head, sizeof head, &t));
    assert_false(behind(both, sizeof both, &t));
    assert_false(behind(no_mode, sizeof no_mode, &t));
    assert_false(behind(no_deadline, sizeof no_deadline, &t));
    assert_false(behind(trace_alone, sizeof trace_alone, &t));
    assert_false(behind(large_mode, sizeof large_mode, &t));
    assert_false(behind(priority, sizeof priority, &t));
}

/* What recovery has found. */
static struct found {
    uint64_t id, size;
    uint16_t states[2];
    uint32_t attempts[2];
} found[16];
static size_t found_count;

static void find(const struct spool_envelope *e, const struct spool_state *states, size_t count, void *arg)
{
    (void)arg;
    struct buf recipients;
    struct spool_envelope whole;
    envelope_make(&whole, e->id, &recipients);
    assert_int_equal(e->arrived, whole.arrived);
    assert_int_equal(e->parent, whole.parent);
    assert_int_equal(e->ret, whole.ret);
    assert_int_equal(e->flags, whole.flags);
    assert_true(span_equal(e->flow, whole.flow) && span_equal(e->sender, whole.sender) && span_equal(e->envid, whole.envid));
    assert_int_equal(e->recipients.count, 2);
    assert_true(span_equal(e->recipients.bytes, whole.recipients.bytes));
    buf_free(&recipients);
    assert_int_equal(count, 2);
    assert_true(found_count < 16);
    struct found *f = &found[found_count++];
    *f = (struct found){.id = e->id, .size = e->size};
    for (size_t i = 0; i < 2; i++) {
        f->states[i] = states[i].state;
        f->attempts[i] = states[i].attempts;
        assert_int_equal(states[i].due, states[i].attempts ? 5000 + states[i].attempts : 0);
        assert_true(span_equal(states[i].reason, states[i].attempts ? SPAN_LITERAL("not now") : SPAN_LITERAL("")));
    }
}

static const struct found *found_id(uint64_t id)
{
    for (size_t i = 0; i < found_count; i++)
        if (found[i].id == id)
            return &found[i];
    return NULL;
}

/* ... which has to be there. */
static struct found must_find(uint64_t id)
{
    const struct found *f = found_id(id);
    assert_non_null(f);
    return f ? *f : (struct found){0};
}

static void assert_body(uint64_t id, const char *body)
{
    char read[4096];
    assert_int_equal(spool_read(spool, id, 0, read, sizeof read), (long)strlen(body));
    assert_memory_equal(read, body, strlen(body));
}

/* ---- the spool's life -------------------------------------------------------------------------------------------- */

static void open_spool(const struct disk_ops *ops)
{
    struct error error;
    disk = ops;
    spool = spool_open(root_fd, 1000, &error);
    if (!spool)
        fail_msg("%s", error.text);
}

static long recover(void)
{
    struct error error;
    found_count = 0;
    faulty.fail_at = 0;
    open_spool(&disk_real);
    long n = spool_recover(spool, find, NULL, &error);
    if (n < 0)
        fail_msg("%s", error.text);
    return n;
}

static void close_spool(void)
{
    spool_close(spool);
    spool = NULL;
}

static void remove_tree(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root_path);
    assert_int_equal(system(command), 0);
}

static int fresh_root(void **state)
{
    (void)state;
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(root_path, sizeof root_path, "%s/test_spool.XXXXXX", tmp);
    assert_non_null(mkdtemp(root_path));
    root_fd = open(root_path, O_RDONLY | O_DIRECTORY);
    assert_true(root_fd >= 0);
    memset(&faulty, 0, sizeof faulty);
    free_octets = UINT64_MAX / 2;
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    disk = &disk_real;
    close(root_fd);
    remove_tree();
    return 0;
}

/* Much cheaper than a new root. */
static void empty_spool(void)
{
    for (uint64_t n = 0; n < 8; n++) {
        for (enum spool_place place = SPOOL_IN_MSG; place <= SPOOL_IN_BAD; place++) {
            char path[SPOOL_PATH];
            spool_path(path, place, ID(n));
            unlinkat(root_fd, path, 0);
        }
    }
    faulty.file_count = 0;
    faulty.calls = faulty.fail_at = 0;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static bool exists(enum spool_place place, uint64_t id)
{
    char path[SPOOL_PATH];
    spool_path(path, place, id);
    return faccessat(root_fd, path, F_OK, 0) == 0;
}

static void messages_are_there_after_a_restart(void **state)
{
    (void)state;
    open_spool(&disk_real);
    assert_int_equal(put(ID(1), "first\r\n"), 0);
    assert_int_equal(put(ID(2), ""), 0);
    assert_int_equal(append(ID(3), "one "), 0);
    assert_int_equal(append(ID(3), "two "), 0);
    assert_int_equal(put(ID(3), "three"), 0);
    assert_int_equal(append(ID(4), "dropped"), 0);
    spool_drop(spool, ID(4));
    assert_int_equal(append(ID(5), "never finished"), 0);
    assert_body(ID(1), "first\r\n");
    settle(ID(1), 0, RECIPIENT_DONE, 1);
    settle(ID(1), 1, RECIPIENT_WAITING, 1);
    settle(ID(1), 1, RECIPIENT_WAITING, 2);
    assert_int_equal(put(ID(1), "again"), EEXIST);
    spool_remove(spool, ID(2));
    close_spool();
    assert_int_equal(recover(), 2);
    assert_int_equal(spool_last_id(spool), ID(3));
    assert_int_equal(must_find(ID(1)).states[0], RECIPIENT_DONE);
    assert_int_equal(must_find(ID(1)).states[1], RECIPIENT_WAITING);
    assert_int_equal(must_find(ID(1)).attempts[1], 2);
    assert_null(found_id(ID(2)));
    assert_int_equal(must_find(ID(3)).attempts[0], 0);
    assert_body(ID(1), "first\r\n");
    assert_body(ID(3), "one two three");
    uint64_t offset, size;
    char whole[32] = "";
    int fd = spool_body(spool, ID(3), &offset, &size);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, whole, size, (off_t)offset), 13);
    assert_string_equal(whole, "one two three");
    assert_true(write(fd, "x", 1) < 0);
    close(fd);
    assert_int_equal(spool_body(spool, ID(5), &offset, &size), -ENOENT);
    settle(ID(1), 1, RECIPIENT_DONE, 3); /* appended to what was there */
    close_spool();
    assert_int_equal(recover(), 1); /* all of it is DONE: removed */
    close_spool();
    assert_int_equal(recover(), 1);
    close_spool();
}

static void puts_gather_into_one_flush(void **state)
{
    (void)state;
    int statuses[50];
    open_spool(&faulty_ops);
    struct buf recipients;
    struct spool_envelope e;
    faulty.calls = 0;
    for (size_t i = 0; i < 50; i++) {
        statuses[i] = -1;
        envelope_make(&e, ID(i), &recipients);
        spool_put(spool, &e, SPAN_LITERAL("body"), answered, &statuses[i]);
        buf_free(&recipients);
    }
    turn_until(&statuses[49]);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(statuses[i], 0);
    assert_int_equal(faulty.calls, 50 * 3 + 2); /* open, write, flush of each; open and flush of one directory */
    close_spool();
}

static void a_disk_without_room_is_told_before_it_is_full(void **state)
{
    (void)state;
    free_octets = 1200;
    open_spool(&faulty_ops);
    assert_int_equal(put(ID(1), "x"), ENOSPC); /* an envelope of more than 200 octets */
    assert_int_equal(append(ID(2), "piece"), 0);
    free_octets = 900;
    spool_free_least(spool, 1000);
    assert_int_equal(append(ID(2), "piece"), ENOSPC);
    assert_int_equal(append(ID(2), "piece"), ENOSPC);
    assert_int_equal(put(ID(2), "piece"), ENOSPC);
    free_octets = 100000;
    spool_free_least(spool, 1000);
    assert_int_equal(put(ID(3), "x"), 0);
    close_spool();
    assert_int_equal(recover(), 1);
    close_spool();
}

static void room_that_removals_make_is_waited_for(void **state)
{
    (void)state;
    open_spool(&faulty_ops);
    assert_int_equal(put(ID(1), "x"), 0);
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_MSG, ID(1));
    int fd = openat(root_fd, path, O_RDONLY);
    uint64_t octets = size_of(fd);
    close(fd);
    free_octets = 900;
    spool_free_least(spool, 1000);
    spool_remove(spool, ID(1));
    int status = -1, second = -1;
    struct buf recipients;
    struct spool_envelope e;
    envelope_make(&e, ID(2), &recipients);
    spool_put(spool, &e, SPAN_LITERAL("y"), answered, &status);
    spool_append(spool, ID(3), SPAN_LITERAL("piece"), answered, &second);
    spool_turn(spool);
    assert_int_equal(status, -1);
    free_octets = 1000 + octets; /* room for one of them */
    turn_until(&status);
    assert_int_equal(status, 0);
    turn_until(&second);
    assert_int_equal(second, ENOSPC);
    assert_int_equal(put(ID(3), "rest"), ENOSPC);
    assert_int_equal(put(ID(4), "no removal to wait for"), ENOSPC);
    buf_free(&recipients);
    close_spool();
    assert_int_equal(recover(), 1);
    assert_body(ID(2), "y");
    close_spool();
}

static void dropped_pieces_leave_nothing(void **state)
{
    (void)state;
    int status = -1;
    open_spool(&disk_real);
    spool_append(spool, ID(1), SPAN_LITERAL("piece"), answered, &status);
    spool_drop(spool, ID(1)); /* in the same batch */
    turn_until(&status);
    turn_until_idle();
    assert_false(exists(SPOOL_IN_TMP, ID(1)));
    close_spool();
}

/* Everything that the spool can be asked for, once. */
struct script {
    int plain, removed, pieces, later;
};

static struct script run_script(void)
{
    struct script r = {.plain = put(ID(1), "a body of one piece\r\n")};
    r.removed = put(ID(2), "to be removed");
    r.pieces = append(ID(3), "piece by ");
    if (r.pieces == 0)
        r.pieces = put(ID(3), "piece");
    else
        spool_drop(spool, ID(3));
    settle(ID(1), 0, RECIPIENT_WAITING, 1);
    spool_remove(spool, ID(2));
    turn_until_idle();
    settle(ID(1), 0, RECIPIENT_DONE, 2);
    r.later = put(ID(4), "later");
    turn_until_idle();
    return r;
}

static void assert_nothing_lost(const struct script *r, unsigned at)
{
    recover();
    if (r->plain == 0 && !found_id(ID(1)))
        fail_msg("failure at call %u: an acknowledged message is lost", at);
    if (r->plain == 0)
        assert_body(ID(1), "a body of one piece\r\n");
    if (r->pieces == 0 && !found_id(ID(3)))
        fail_msg("failure at call %u: an acknowledged message of pieces is lost", at);
    if (r->pieces == 0)
        assert_body(ID(3), "piece by piece");
    if (r->later == 0 && !found_id(ID(4)))
        fail_msg("failure at call %u: a later message is lost", at);
    if (r->later == 0)
        assert_body(ID(4), "later");
    const struct found *f = found_id(ID(1));
    if (f)
        assert_true(f->attempts[0] <= 2 && f->attempts[1] == 0);
    close_spool();
}

static void fail_each_call(enum fault fault, int error)
{
    unsigned calls = UINT32_MAX;
    for (unsigned at = 1; at <= calls; at++) {
        open_spool(&faulty_ops);
        empty_spool();
        faulty.fault = fault;
        faulty.error = error;
        faulty.fail_at = at;
        struct script r = run_script();
        if (calls == UINT32_MAX && faulty.calls < at)
            calls = 0; /* all calls have failed once */
        if (fault != FAULT_FOREVER && fault != FAULT_STUTTER) {
            int statuses[] = {r.plain, r.removed, r.pieces, r.later}; /* of ID(1) to ID(4) */
            unsigned refused = 0;
            for (size_t i = 0; i < 4; i++) {
                assert_true(statuses[i] == 0 || statuses[i] == error);
                refused += statuses[i] != 0;
            }
            assert_true(refused <= 1);
            for (uint64_t n = 1; n <= 4; n++)
                assert_true(statuses[n - 1] == 0 || !exists(SPOOL_IN_MSG, ID(n)));
        }
        if (fault == FAULT_STUTTER)
            assert_true(r.plain == 0 || r.plain == EIO);
        close_spool();
        power_cut();
        assert_nothing_lost(&r, at);
    }
}

static void nothing_acknowledged_is_lost_when_a_call_fails_once(void **state)
{
    (void)state;
    fail_each_call(FAULT_ONCE, EIO);
}

static void nothing_acknowledged_is_lost_when_the_disk_is_full(void **state)
{
    (void)state;
    fail_each_call(FAULT_SHORT_WRITE, ENOSPC);
}

static void nothing_acknowledged_is_lost_when_the_disk_dies(void **state)
{
    (void)state;
    fail_each_call(FAULT_FOREVER, EIO);
}

static void a_write_of_less_is_continued(void **state)
{
    (void)state;
    fail_each_call(FAULT_STUTTER, EIO);
}

static void opening_reports_what_fails(void **state)
{
    (void)state;
    for (unsigned at = 1; at < 310; at++) {
        struct error error = {""};
        remove_root(NULL);
        fresh_root(NULL);
        disk = &faulty_ops;
        faulty = (typeof(faulty)){.fault = FAULT_ONCE, .error = EROFS, .fail_at = at};
        spool = spool_open(root_fd, 0, &error);
        if (spool) {
            assert_true(at > 260);
            close_spool();
            break;
        }
        assert_non_null(strstr(error.text, "spool: "));
        assert_non_null(strstr(error.text, strerror(EROFS)));
        assert_true(at < 309);
    }
}

static void a_failed_settlement_is_written_later(void **state)
{
    (void)state;
    open_spool(&faulty_ops);
    assert_int_equal(put(ID(1), "body"), 0);
    settle(ID(1), 0, RECIPIENT_DONE, 1);
    faulty = (typeof(faulty)){.fault = FAULT_SHORT_WRITE, .error = ENOSPC, .fail_at = 3};
    turn_until_idle();
    assert_false(spool_idle(spool));
    settle(ID(1), 1, RECIPIENT_WAITING, 1);
    for (int i = 0; i < 6000 && !spool_idle(spool); i++) {
        usleep(10000);
        spool_turn(spool);
    }
    assert_true(spool_idle(spool));
    close_spool();
    recover();
    assert_int_equal(must_find(ID(1)).states[0], RECIPIENT_DONE);
    assert_int_equal(must_find(ID(1)).attempts[1], 1);
    close_spool();
}

/* ---- files that are not as they were ----------------------------------------------------------------------------- */

struct image {
    char path[SPOOL_PATH];
    unsigned char octets[4096];
    size_t n, message; /* of it the MSG record */
};

static void image_make(struct image *image)
{
    open_spool(&disk_real);
    assert_int_equal(put(ID(1), "the body of it\r\n"), 0);
    spool_path(image->path, SPOOL_IN_MSG, ID(1));
    int fd = openat(root_fd, image->path, O_RDONLY);
    image->message = (size_t)size_of(fd);
    settle(ID(1), 0, RECIPIENT_DONE, 1);
    turn_until_idle();
    settle(ID(1), 1, RECIPIENT_WAITING, 7);
    close_spool();
    image->n = (size_t)size_of(fd);
    assert_int_equal(read(fd, image->octets, sizeof image->octets), (ssize_t)image->n);
    close(fd);
}

static void image_write(const struct image *image, size_t n)
{
    unlinkat(root_fd, image->path, 0);
    int fd = openat(root_fd, image->path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, image->octets, n), (ssize_t)n);
    close(fd);
}

static void a_file_cut_anywhere_is_whole_or_was_never_promised(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    size_t first_settle = 0;
    for (size_t n = 0; n <= image.n; n++) {
        image_write(&image, n);
        long count = recover();
        assert_int_equal(count, n >= image.message);
        assert_int_equal(exists(SPOOL_IN_MSG, ID(1)), n >= image.message);
        if (n >= image.message) {
            assert_body(ID(1), "the body of it\r\n");
            if (found[0].states[0] == RECIPIENT_DONE && first_settle == 0)
                first_settle = n;
            assert_int_equal(found[0].states[0] == RECIPIENT_DONE, first_settle != 0);
            assert_int_equal(found[0].attempts[1], n == image.n ? 7 : 0);
            settle(ID(1), 1, RECIPIENT_WAITING, 9); /* cuts the torn tail, and stands */
            close_spool();
            recover();
            assert_int_equal(found[0].attempts[1], 9);
            assert_int_equal(found[0].states[0] == RECIPIENT_DONE, first_settle != 0);
        }
        close_spool();
        assert_false(exists(SPOOL_IN_BAD, ID(1)));
    }
    assert_true(first_settle > image.message && first_settle < image.n);
}

static void a_flipped_bit_is_never_delivered(void **state)
{
    (void)state;
    struct image image;
    char bad[SPOOL_PATH];
    image_make(&image);
    spool_path(bad, SPOOL_IN_BAD, ID(1));
    for (size_t bit = 0; bit < image.n * 8; bit++) {
        image.octets[bit / 8] ^= (unsigned char)(1 << bit % 8);
        image_write(&image, image.n);
        long count = recover();
        if (bit / 8 < image.message) {
            assert_int_equal(count, 0);
            assert_true(exists(SPOOL_IN_BAD, ID(1)));
            assert_false(exists(SPOOL_IN_MSG, ID(1)));
            unlinkat(root_fd, bad, 0);
        } else {
            assert_int_equal(count, 1);
            assert_body(ID(1), "the body of it\r\n");
            assert_int_equal(found[0].attempts[1], 0); /* an earlier state: tried again, not lost */
        }
        close_spool();
        image.octets[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

/* The record behind the damaged one is whole, and would fit behind what is written next. */
static void what_stood_behind_damage_does_not_come_back(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    image.octets[image.message + 70] ^= 1;
    image_write(&image, image.n);
    recover();
    settle(ID(1), 1, RECIPIENT_WAITING, 9);
    close_spool();
    recover();
    assert_int_equal(found[0].states[0], RECIPIENT_WAITING);
    assert_int_equal(found[0].attempts[1], 9);
    close_spool();
}

static void damage_while_it_runs_is_set_aside(void **state)
{
    (void)state;
    struct image image;
    char read_body[100];
    uint64_t offset, size;
    image_make(&image);
    recover();
    image.octets[SPOOL_RECORD_HEADER + 3] ^= 1;
    image_write(&image, image.n);
    assert_int_equal(spool_read(spool, ID(1), 0, read_body, sizeof read_body), -EBADMSG);
    assert_true(exists(SPOOL_IN_BAD, ID(1)));
    assert_int_equal(spool_read(spool, ID(1), 0, read_body, sizeof read_body), -ENOENT);
    image.octets[SPOOL_RECORD_HEADER + 3] ^= 1;
    close_spool();
    image_write(&image, image.n);
    recover();
    image.octets[9] ^= 1;
    image_write(&image, image.n);
    assert_int_equal(spool_body(spool, ID(1), &offset, &size), -EBADMSG);
    assert_int_equal(spool_body(spool, ID(1), &offset, &size), -ENOENT);
    close_spool();
    char path[64];
    snprintf(path, sizeof path, "bad/%s.1", queueid_format(ID(1)).text);
    assert_int_equal(faccessat(root_fd, path, F_OK, 0), 0); /* beside the first, not over it */
}

static void an_unwritten_file_is_removed(void **state)
{
    (void)state;
    struct image image;
    image_make(&image);
    memset(image.octets, 0, sizeof image.octets);
    image_write(&image, image.n);
    assert_int_equal(recover(), 0);
    assert_false(exists(SPOOL_IN_MSG, ID(1)) || exists(SPOOL_IN_BAD, ID(1)));
    close_spool();
}

static void foreign_files_are_left_alone(void **state)
{
    (void)state;
    const char *names[] = {"msg/00/README", "msg/ff/core", "msg/stray", "tmp/x", "lost+found", "msg/00/0123456789AB0"};
    open_spool(&disk_real);
    assert_int_equal(put(ID(1), "body"), 0);
    close_spool();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        close(openat(root_fd, names[i], O_CREAT | O_WRONLY, 0600));
    char path[SPOOL_PATH], wrong_shelf[64];
    spool_path(path, SPOOL_IN_MSG, ID(2));
    assert_int_equal(symlinkat("/etc/passwd", root_fd, path), 0);
    spool_path(path, SPOOL_IN_MSG, ID(3));
    assert_int_equal(mkfifoat(root_fd, path, 0600), 0);
    snprintf(wrong_shelf, sizeof wrong_shelf, "msg/01/%s", queueid_format(ID(1)).text);
    close(openat(root_fd, wrong_shelf, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(recover(), 1);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(faccessat(root_fd, names[i], F_OK, 0), 0);
    assert_int_equal(faccessat(root_fd, wrong_shelf, F_OK, 0), 0);
    assert_int_equal(faccessat(root_fd, path, F_OK, 0), 0);
    close_spool();
}

static void version_is_checked(void **state)
{
    (void)state;
    struct error error;
    open_spool(&disk_real);
    close_spool();
    const char *texts[] = {"Postino spool version 3, written by Postino 9\n", "", "something else\n"};
    for (size_t i = 0; i < 3; i++) {
        int fd = openat(root_fd, "version", O_WRONLY | O_TRUNC);
        assert_int_equal(write(fd, texts[i], strlen(texts[i])), (ssize_t)strlen(texts[i]));
        close(fd);
        assert_null(spool_open(root_fd, 0, &error));
        assert_non_null(strstr(error.text, i == 0 ? "version 3" : "is this directory a spool"));
    }
}

/* A state without orders is what version 2 had before there were any; one with them is longer, by what an older reader skips. */
static void orders_stand_behind_what_older_readers_know(void **state)
{
    (void)state;
    struct spool_state s = {.index = 1, .state = RECIPIENT_WAITING, .attempts = 7, .due = 9, .status = SPAN_LITERAL("4.2.0")}, got[2] = {0};
    struct buf plain = BUF_EMPTY(0), ordered = BUF_EMPTY(0);
    spool_state_encode(&s, &plain);
    s.orders = 7;
    spool_state_encode(&s, &ordered);
    assert_int_equal(plain.len, 4 + 4 + 2 + 2 + 4 + 8 + 4 + 5 + 4);
    assert_int_equal(ordered.len, plain.len + 2);
    assert_memory_equal(ordered.data + 4, plain.data + 4, plain.len - 4);
    assert_true(spool_states_decode(buf_span(&ordered), got, 2));
    assert_true(got[1].orders == 7 && got[1].attempts == 7);
    assert_true(spool_states_decode(buf_span(&plain), got, 2));
    assert_int_equal(got[1].orders, 0); /* the last state counts, and it has none */
    ordered.data[0]++;
    buf_add_char(&ordered, 'x'); /* of a newer writer */
    assert_true(spool_states_decode(buf_span(&ordered), got, 2));
    assert_int_equal(got[1].orders, 7);
    ordered.data[0] = (char)(ordered.data[0] - 2);
    ordered.len -= 2; /* half a field */
    assert_true(spool_states_decode(buf_span(&ordered), got, 2));
    assert_int_equal(got[1].orders, 0);
    buf_free(&plain);
    buf_free(&ordered);
}

/* The same of a way; half of one is refused, as any state is, and an empty one is none: something newer may stand behind it. */
static void a_way_stands_behind_the_orders(void **state)
{
    (void)state;
    struct spool_state s = {.index = 1, .state = RECIPIENT_WAITING}, got[2] = {0};
    struct buf b = BUF_EMPTY(0);
    s.transport = SPAN_LITERAL("smtp");
    s.nexthop = SPAN_LITERAL("[192.0.2.3]:26");
    s.tls = SPAN_LITERAL("may");
    assert_true(spool_state_says(&s));
    spool_state_encode(&s, &b);
    assert_true(spool_states_decode(buf_span(&b), got, 2));
    struct record_recipient r = {.address = SPAN_LITERAL("a@b"), .nexthop = SPAN_LITERAL("b"), .mailbox = SPAN_LITERAL("x")};
    spool_state_way(&got[1], &r);
    assert_true(span_equal(r.transport, s.transport) && span_equal(r.nexthop, s.nexthop) && r.mailbox.n == 0 && span_equal(r.tls, s.tls));
    assert_true(span_equal(r.address, SPAN_LITERAL("a@b")));
    spool_states_compact(&b);
    assert_true(spool_states_decode(buf_span(&b), got, 2) && span_equal(got[1].nexthop, s.nexthop));
    buf_clear(&b);
    s.nexthop = (struct span){0};
    spool_state_encode(&s, &b);
    assert_false(spool_states_decode(buf_span(&b), got, 2));
    buf_clear(&b);
    s.transport = s.tls = (struct span){0};
    s.orders = 1;
    spool_state_encode(&s, &b);
    static const char empty_and_newer[4 * 4 + 6];
    buf_add(&b, empty_and_newer, sizeof empty_and_newer);
    b.data[0] = (char)(b.data[0] + (char)sizeof empty_and_newer);
    assert_true(spool_states_decode(buf_span(&b), got, 2) && got[1].transport.n == 0 && got[1].orders == 1);
    buf_free(&b);
}

int main(void)
{
    spool_log_size(0); /* the log has its own test; here everything is a file */
    log_open("test_spool", open("/dev/null", O_WRONLY), LOG_TO_FILE, LOG_LEVEL_ERROR);
#define T(name) cmocka_unit_test_setup_teardown(name, fresh_root, remove_root)
    const struct CMUnitTest tests[] = {
        T(an_envelope_without_times_is_what_it_was_before_there_were_any),
        T(what_stands_behind_recipients_is_known_skipped_or_refused),
        T(messages_are_there_after_a_restart),
        T(puts_gather_into_one_flush),
        T(a_disk_without_room_is_told_before_it_is_full),
        T(dropped_pieces_leave_nothing),
        T(room_that_removals_make_is_waited_for),
        T(nothing_acknowledged_is_lost_when_a_call_fails_once),
        T(nothing_acknowledged_is_lost_when_the_disk_is_full),
        T(nothing_acknowledged_is_lost_when_the_disk_dies),
        T(a_write_of_less_is_continued),
        T(opening_reports_what_fails),
        T(a_failed_settlement_is_written_later),
        T(a_file_cut_anywhere_is_whole_or_was_never_promised),
        T(a_flipped_bit_is_never_delivered),
        T(what_stood_behind_damage_does_not_come_back),
        T(damage_while_it_runs_is_set_aside),
        T(an_unwritten_file_is_removed),
        T(foreign_files_are_left_alone),
        T(version_is_checked),
        T(orders_stand_behind_what_older_readers_know),
        T(a_way_stands_behind_the_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
