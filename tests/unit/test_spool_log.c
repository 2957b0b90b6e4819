/* The spool's log: what was acknowledged is there after a power cut at any call, whatever part of the unflushed sectors reached the disk, and
 * in whatever order. Names follow the crash matrix of docs/spool.md.
 *
 * The disk under test is a directory of small files, seen through a table of system calls that keeps beside each file what of it is durable.
 * power_cut() throws a die for every sector and every name that is not. */
#include "common/log.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/log_store.h"
#include "qmgr/spool.h"
#include "qmgr/spool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SEGMENT 65536
#define SECTOR  512

/* ---- the disk ---------------------------------------------------------------------------------------------------- */

struct shadow {
    char path[32];
    unsigned char *durable;
    size_t size;
    bool there, named; /* now, and after a cut for sure */
};

static struct {
    struct shadow files[1000];
    size_t count;
    unsigned calls, fail_at, flushes, names; /* fail_at: from this call on nothing works; 0: never */
    bool once, lying;                        /* only this call; flushes do nothing */
    int error;
} media;

static char root_path[64];
static int root_fd = -1;
static uint64_t dice;

static unsigned throw_dice(unsigned n)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(dice >> 33) % n;
}

static bool fails_now(void)
{
    media.calls++;
    if (media.fail_at == 0 || media.calls < media.fail_at || (media.once && media.calls > media.fail_at))
        return false;
    errno = media.error;
    return true;
}

static struct shadow *shadow_of(const char *path)
{
    for (size_t i = 0; i < media.count; i++)
        if (strcmp(media.files[i].path, path) == 0)
            return &media.files[i];
    assert_true(media.count < sizeof media.files / sizeof *media.files);
    struct shadow *f = &media.files[media.count++];
    *f = (struct shadow){.there = false};
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

static int m_openat(int directory, const char *path, int flags, mode_t mode)
{
    if (fails_now())
        return -1;
    media.names += (flags & O_CREAT) != 0;
    int fd = disk_real.openat(directory, path, flags, mode);
    if (fd >= 0 && flags & O_CREAT)
        shadow_of(path)->there = true;
    return fd;
}

static ssize_t m_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (!fails_now())
        return disk_real.pwritev(fd, parts, count, offset);
    int error = errno;
    struct iovec half = {.iov_base = parts[0].iov_base, .iov_len = throw_dice((unsigned)parts[0].iov_len + 1)};
    (void)!disk_real.pwritev(fd, &half, 1, offset);
    errno = error;
    return -1;
}

static ssize_t m_pread(int fd, void *to, size_t n, off_t offset)
{
    return disk_real.pread(fd, to, n, offset);
}

static unsigned char *contents(int fd, size_t *size)
{
    uint64_t n = 0;
    assert_int_equal(disk_real.size(fd, &n), 0);
    unsigned char *data = malloc((size_t)n + 1);
    assert_non_null(data);
    assert_int_equal(pread(fd, data, (size_t)n, 0), (ssize_t)n);
    *size = (size_t)n;
    return data;
}

static int m_fdatasync(int fd)
{
    char path[256];
    if (fails_now())
        return -1;
    media.flushes++;
    if (media.lying)
        return 0;
    path_of(fd, path);
    struct shadow *f = shadow_of(path);
    int readable = openat(root_fd, path, O_RDONLY);
    assert_true(readable >= 0);
    free(f->durable);
    f->durable = contents(readable, &f->size);
    close(readable);
    return 0;
}

static int m_fsync(int fd)
{
    char path[256];
    if (fails_now())
        return -1;
    path_of(fd, path);
    size_t n = strlen(path);
    for (size_t i = 0; i < media.count && !media.lying; i++)
        if (strncmp(media.files[i].path, path, n) == 0 && media.files[i].path[n] == '/')
            media.files[i].named = media.files[i].there;
    return 0;
}

static int m_ftruncate(int fd, off_t size)
{
    return fails_now() ? -1 : disk_real.ftruncate(fd, size);
}

static int m_linkat(int directory, const char *from, const char *to)
{
    if (fails_now() || disk_real.linkat(directory, from, to) != 0)
        return -1;
    struct shadow *a = shadow_of(from), *b = shadow_of(to);
    media.names++;
    b->there = true;
    b->size = a->size;
    b->durable = malloc(a->size + 1);
    assert_non_null(b->durable);
    if (a->durable)
        memcpy(b->durable, a->durable, a->size);
    return 0;
}

static int m_unlinkat(int directory, const char *path)
{
    if (fails_now())
        return -1;
    media.names++;
    if (disk_real.unlinkat(directory, path) != 0)
        return -1;
    struct shadow *f = shadow_of(path);
    f->there = false;
    return 0;
}

static int m_renameat(int directory, const char *from, const char *to)
{
    return fails_now() ? -1 : disk_real.renameat(directory, from, to);
}

static int m_mkdirat(int directory, const char *path)
{
    return fails_now() ? -1 : disk_real.mkdirat(directory, path);
}

static int m_size(int fd, uint64_t *size)
{
    return disk_real.size(fd, size);
}

static int m_write_back(int fd)
{
    (void)fd;
    return 0;
}

static int m_free_space(int fd, uint64_t *octets)
{
    (void)fd;
    *octets = UINT64_MAX / 2;
    return 0;
}

static const struct disk_ops media_ops = {
    .openat = m_openat,
    .close = close,
    .pwritev = m_pwritev,
    .pread = m_pread,
    .write_back = m_write_back,
    .fdatasync = m_fdatasync,
    .fsync = m_fsync,
    .ftruncate = m_ftruncate,
    .linkat = m_linkat,
    .renameat = m_renameat,
    .unlinkat = m_unlinkat,
    .mkdirat = m_mkdirat,
    .size = m_size,
    .free_space = m_free_space,
};

/* A sector that is not durable is old or new; a name that is not durable is there or not. */
static void cut_file(struct shadow *f)
{
    bool there = f->there == f->named ? f->there : throw_dice(2) == 0;
    size_t size = 0;
    int fd = openat(root_fd, f->path, O_RDWR);
    unsigned char *now = fd >= 0 ? contents(fd, &size) : calloc(1, 1);
    if (fd >= 0)
        close(fd);
    if (!there) {
        unlinkat(root_fd, f->path, 0);
        free(now);
        return;
    }
    size_t length = size > f->size && throw_dice(2) ? size : f->size > size ? f->size : size;
    unsigned char *after = calloc(1, length + SECTOR);
    assert_non_null(after);
    for (size_t at = 0; at < length; at += SECTOR) {
        const unsigned char *from = throw_dice(2) ? now : f->durable;
        size_t have = from == now ? size : f->size;
        if (from == now && size == 0 && f->durable) { /* it was unlinked: only what is durable is known */
            from = f->durable;
            have = f->size;
        }
        if (from && have > at)
            memcpy(after + at, from + at, have - at < SECTOR ? have - at : SECTOR);
    }
    fd = openat(root_fd, f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, after, length), (ssize_t)length);
    close(fd);
    free(after);
    free(now);
}

static void power_cut(void)
{
    for (size_t i = 0; i < media.count; i++)
        if (strncmp(media.files[i].path, "log/", 4) == 0 || strncmp(media.files[i].path, "msg/", 4) == 0)
            cut_file(&media.files[i]);
}

static void forget_media(void)
{
    for (size_t i = 0; i < media.count; i++)
        free(media.files[i].durable);
    memset(&media, 0, sizeof media);
}

/* ---- what is asked of the spool ---------------------------------------------------------------------------------- */

#define MESSAGES 200
#define ID(n)    (((uint64_t)0x123456 << 20) + (n))

#define TOLD 77 /* attempts that only a settlement which came with a report says */

/* What this test knows of each message: what it was promised, and what it asked for. */
static struct known {
    int status; /* -2: not put; -1: not answered */
    size_t octets;
    uint64_t parent;
    bool removed;
    uint32_t attempts; /* the last that was asked for */
    bool found, done;
    uint32_t found_attempts;
} known[MESSAGES];

static struct spool *spool;

static void answered(int status, void *arg)
{
    *(int *)arg = status;
}

static void turn(int milliseconds)
{
    spool_turn(spool);
    struct pollfd p = {.fd = spool_fd(spool), .events = POLLIN};
    poll(&p, 1, milliseconds);
    spool_turn(spool);
}

static void turn_until(const int *status)
{
    for (int i = 0; i < 3000 && *status == -1; i++)
        turn(5);
    assert_true(*status >= 0);
}

static void body_fill(char *out, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + (i * 7 + number * 13 + i / 97) % 26);
}

static void put_later(uint64_t n, size_t octets, uint64_t parent)
{
    static char body[300000];
    struct buf recipients = BUF_EMPTY(0);
    struct record_recipient r = {
        .address = SPAN_LITERAL("one@example.org"), .transport = SPAN_LITERAL("smtp"), .nexthop = SPAN_LITERAL("example.net")};
    record_recipient_add(&recipients, &r);
    struct spool_envelope e = {.id = ID(n), .arrived = 1, .flow = SPAN_LITERAL("flow"), .sender = SPAN_LITERAL("s@example.com")};
    e.parent = parent ? ID(parent) : 0;
    e.recipients = (struct list){.count = 1, .bytes = buf_span(&recipients)};
    assert_true(octets <= sizeof body);
    body_fill(body, octets, n);
    known[n] = (struct known){.status = -1, .octets = octets, .parent = parent};
    struct spool_state told = {.state = RECIPIENT_WAITING, .attempts = TOLD, .due = 9, .reason = SPAN_LITERAL("no such user")};
    if (parent)
        spool_put_settling(spool, &e, span_make(body, octets), &told, 1, answered, &known[n].status);
    else
        spool_put(spool, &e, span_make(body, octets), answered, &known[n].status);
    buf_free(&recipients);
}

static int put(uint64_t n, size_t octets)
{
    put_later(n, octets, 0);
    turn_until(&known[n].status);
    return known[n].status;
}

static void defer(uint64_t n)
{
    struct spool_state s = {.state = RECIPIENT_WAITING, .attempts = ++known[n].attempts, .due = 5000, .reason = SPAN_LITERAL("not now")};
    spool_settle(spool, ID(n), &s, 1);
}

static void take_out(uint64_t n)
{
    known[n].removed = true;
    spool_remove(spool, ID(n));
}

static void find(const struct spool_envelope *e, const struct spool_state *states, size_t count, void *arg)
{
    (void)arg;
    assert_int_equal(count, 1);
    assert_true(e->id >= ID(0) && e->id < ID(MESSAGES));
    struct known *k = &known[e->id - ID(0)];
    assert_false(k->found);
    assert_true(k->status != -2);
    assert_int_equal(e->size, k->octets);
    assert_true(span_equal(e->sender, SPAN_LITERAL("s@example.com")));
    k->found = true;
    k->found_attempts = states[0].attempts;
}

static long open_spool(const struct disk_ops *ops)
{
    struct error error;
    disk = ops;
    spool = spool_open(root_fd, 0, &error);
    if (!spool)
        fail_msg("%s", error.text);
    for (size_t i = 0; i < MESSAGES; i++)
        known[i].found = false;
    long n = spool_recover(spool, find, NULL, &error);
    if (n < 0)
        fail_msg("%s", error.text);
    return n;
}

static void wait_for_log(void)
{
    for (int i = 0; i < 1000 && !spool_log_ready(spool); i++)
        turn(5);
    assert_true(spool_log_ready(spool));
}

static void close_spool(void)
{
    spool_close(spool);
    spool = NULL;
}

static bool has_file(uint64_t n)
{
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_MSG, ID(n));
    return faccessat(root_fd, path, F_OK, 0) == 0;
}

static bool body_good(uint64_t n)
{
    static char read[300000], body[300000];
    long got = spool_read(spool, ID(n), 0, read, sizeof read);
    body_fill(body, known[n].octets, n);
    return got == (long)known[n].octets && memcmp(read, body, known[n].octets) == 0;
}

static int fresh(void **state)
{
    (void)state;
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(root_path, sizeof root_path, "%s/test_spool_log.XXXXXX", tmp);
    assert_non_null(mkdtemp(root_path));
    root_fd = open(root_path, O_RDONLY | O_DIRECTORY);
    assert_true(root_fd >= 0);
    forget_media();
    media.error = EIO;
    for (size_t i = 0; i < MESSAGES; i++)
        known[i] = (struct known){.status = -2};
    spool_log_size(SEGMENT);
    dice = 1;
    return 0;
}

static int end(void **state)
{
    (void)state;
    char command[128];
    disk = &disk_real;
    close(root_fd);
    snprintf(command, sizeof command, "rm -rf %s", root_path);
    assert_int_equal(system(command), 0);
    return 0;
}

static void again(void)
{
    end(NULL);
    fresh(NULL);
}

/* ---- without failures -------------------------------------------------------------------------------------------- */

static void small_mail_makes_no_files(void **state)
{
    (void)state;
    open_spool(&media_ops);
    wait_for_log();
    assert_int_equal(put(7, 1), 0);
    for (int i = 0; i < 5; i++) /* the next segment is made ahead */
        turn(10);
    take_out(7);
    media.names = media.flushes = 0;
    assert_int_equal(put(1, 4096), 0);
    assert_int_equal(media.flushes, 1);
    for (uint64_t n = 2; n < 6; n++)
        put_later(n, 1000, 0);
    turn_until(&known[5].status);
    assert_int_equal(media.flushes, 2);
    defer(2);
    take_out(3);
    assert_int_equal(put(6, 100), 0); /* they ride along */
    assert_int_equal(media.flushes, 3);
    assert_int_equal(media.names, 0);
    for (uint64_t n = 1; n <= 6; n++)
        assert_true(!has_file(n) && (n == 3 || body_good(n)));
    close_spool();
    assert_int_equal(open_spool(&disk_real), 5);
    assert_false(known[3].found);
    assert_int_equal(known[2].found_attempts, 1);
    for (uint64_t n = 1; n <= 6; n++)
        assert_true(n == 3 || body_good(n));
    close_spool();
    assert_int_equal(open_spool(&disk_real), 5);
    close_spool();
}

/* What one life writes, the next reads, for many more lives than there are segments. */
static void segments_are_recycled_over_many_lives(void **state)
{
    (void)state;
    for (uint64_t life = 0; life < 30; life++) {
        assert_int_equal(open_spool(&disk_real), life < 2 ? (long)life : 2);
        wait_for_log();
        assert_int_equal(put(life, 3000), 0);
        if (life >= 2)
            take_out(life - 2);
        for (uint64_t n = life >= 1 ? life - 1 : life; n <= life; n++)
            assert_true(body_good(n));
        close_spool();
    }
}

/* Records of a type in all segments. */
static unsigned records_of(unsigned type)
{
    static unsigned char data[SEGMENT];
    unsigned n = 0;
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        char path[LOG_PATH];
        log_path(path, slot);
        int fd = openat(root_fd, path, O_RDONLY);
        ssize_t got = fd < 0 ? 0 : pread(fd, data, sizeof data, 0);
        for (ssize_t at = 0; at + SPOOL_RECORD_HEADER <= got; at += LOG_ALIGN) {
            struct spool_record r;
            n += spool_record_decode(data + at, &r) && r.type == type;
        }
        if (fd >= 0)
            close(fd);
    }
    return n;
}

/* A settlement goes with its report only if nothing stands between: its message is in the log, and no other settlement of it is under way. Else
 * it follows, and the batch has neither its record nor room for it. */
static void a_settlement_that_cannot_go_with_its_report_follows_it(void **state)
{
    (void)state;
    open_spool(&disk_real);
    wait_for_log();
    assert_int_equal(put(1, 290000), 0);
    assert_true(has_file(1));
    assert_int_equal(put(2, 1000), 0);
    put_later(3, 500, 1);
    put_later(4, 500, 2);
    put_later(5, 500, 2);
    turn_until(&known[3].status);
    turn_until(&known[4].status);
    turn_until(&known[5].status);
    assert_int_equal(records_of(SPOOL_TOLD), 1);
    close_spool();
    assert_int_equal(open_spool(&disk_real), 5);
    assert_int_equal(known[1].found_attempts, TOLD);
    assert_int_equal(known[2].found_attempts, TOLD);
    close_spool();
}

/* ---- power cuts -------------------------------------------------------------------------------------------------- */

static bool dead(void)
{
    return media.fail_at != 0 && media.calls >= media.fail_at && !media.once;
}

/* Mail of all sizes comes, is deferred, told about and taken out, over more segments than may be in use. */
static void run_script(uint64_t seed)
{
    uint64_t mine = dice, old = seed;
    for (uint64_t n = 1; n < MESSAGES - 2 && !dead(); n++) {
        dice = old;
        size_t octets = throw_dice(40) == 0 ? 70000 : 100 + throw_dice(6000);
        unsigned what = throw_dice(8);
        uint64_t about = n > 6 ? n - 1 - throw_dice(6) : 0;
        old = dice;
        dice = mine;
        bool good = about && known[about].status == 0 && !known[about].removed && !known[about].parent && known[about].attempts < TOLD;
        if (what == 0 && good) {
            put_later(n, octets, about);
            turn_until(&known[n].status);
            if (known[n].status == 0)
                known[about].attempts = TOLD;
        } else if (what == 1) {
            put_later(n, octets, 0);
            n++;
            put_later(n, octets / 2, 0);
            turn_until(&known[n].status);
            turn_until(&known[n - 1].status);
        } else {
            put(n, octets);
        }
        if (what == 2 && good && known[about].attempts < 5)
            defer(about);
        else if (what >= 3 && good && about % 9 != 0)
            take_out(about);
        mine = dice;
    }
}

struct damage {
    unsigned lost, wrong, half;
};

static struct damage check_all(unsigned at)
{
    struct damage d = {0};
    for (uint64_t n = 1; n < MESSAGES; n++) {
        const struct known *k = &known[n];
        bool promised = k->status == 0 && !k->removed;
        if (promised && (!k->found || !body_good(n))) {
            d.lost++;
            if (getenv("SPOOL_TELL"))
                print_message("cut at call %u: message %d is lost (found %d)\n", at, (int)n, k->found);
        }
        d.wrong += !promised && k->found && !body_good(n);
        d.wrong += k->found && k->found_attempts > k->attempts && k->found_attempts != TOLD;
        if (!k->parent || k->removed || known[k->parent].removed || known[k->parent].status != 0)
            continue;
        bool told = known[k->parent].found && known[k->parent].found_attempts == TOLD;
        for (uint64_t other = 1; other < MESSAGES; other++) /* a report that was refused, and made again */
            told &= other == n || known[other].parent != k->parent || !known[other].found || k->found;
        bool apart = has_file(n) || has_file(k->parent);
        if (told ? !k->found : k->found && !apart) {
            d.half++;
            if (getenv("SPOOL_TELL"))
                print_message("cut at call %u: report %d about %d: found %d, told %d\n", at, (int)n, (int)k->parent, k->found, told);
        }
    }
    return d;
}

static unsigned script_calls(void)
{
    open_spool(&media_ops);
    wait_for_log();
    media.calls = 0;
    run_script(42);
    unsigned calls = media.calls;
    close_spool();
    return calls;
}

/* The device dies at one call of the script, and with it all that was not flushed, or a part of it. */
static struct damage cut_at(unsigned at, bool lying)
{
    again();
    dice = at;
    media.lying = false;
    open_spool(&media_ops);
    wait_for_log();
    media.lying = lying;
    media.calls = 0;
    media.fail_at = at;
    run_script(42);
    if (!dead()) /* the script's end */
        media.fail_at = 1;
    close_spool();
    power_cut();
    open_spool(&disk_real);
    struct damage d = check_all(at);
    /* And life goes on. */
    wait_for_log();
    assert_int_equal(put(MESSAGES - 1, 2000), 0);
    close_spool();
    open_spool(&disk_real);
    struct damage later = check_all(at);
    close_spool();
    return (struct damage){d.lost + later.lost, d.wrong + later.wrong, d.half + later.half};
}

static unsigned stride(void)
{
    return getenv("SPOOL_LONG") ? 1 : 5;
}

static void before_the_flush_no_250_after_it_the_message_is_there(void **state)
{
    (void)state;
    unsigned calls = script_calls();
    assert_true(calls > 400);
    for (unsigned at = 1; at <= calls; at += 1 + (unsigned)(at % stride())) {
        struct damage d = cut_at(at, false);
        if (d.lost || d.wrong || d.half)
            fail_msg("power cut at call %u of %u: %u messages lost, %u wrong, %u reports without their settlement", at, calls, d.lost,
                     d.wrong, d.half);
    }
}

static void a_flush_that_does_nothing_is_noticed(void **state)
{
    (void)state;
    unsigned lost = 0;
    for (unsigned at = 100; at < 400; at += 30)
        lost += cut_at(at, true).lost;
    assert_true(lost > 10);
}

/* One call fails, the disk lives on: 451 for some, and nothing that was acknowledged is lost, now or after a cut. */
static void fail_each_call_once(int error)
{
    again();
    unsigned calls = script_calls();
    for (unsigned at = 1; at <= calls; at += 1 + (unsigned)(at % stride())) {
        again();
        dice = at;
        open_spool(&media_ops);
        wait_for_log();
        media.calls = 0;
        media.once = true;
        media.error = error;
        media.fail_at = at;
        run_script(42);
        unsigned refused = 0;
        for (uint64_t n = 1; n < MESSAGES; n++) {
            assert_true(known[n].status <= 0 || known[n].status == error);
            refused += known[n].status > 0;
            if (known[n].status == 0 && !known[n].removed && !body_good(n))
                fail_msg("call %u failed: message %d can't be read in the same life", at, (int)n);
        }
        assert_true(refused <= 2);
        close_spool();
        power_cut();
        open_spool(&disk_real);
        struct damage d = check_all(at);
        for (uint64_t n = 1; n < MESSAGES; n++)
            if (known[n].status > 0 && known[n].found)
                fail_msg("call %u failed: message %d was refused, and is there", at, (int)n);
        close_spool();
        if (d.lost || d.wrong || d.half)
            fail_msg("call %u of %u failed: %u messages lost, %u wrong, %u reports without their settlement", at, calls, d.lost, d.wrong,
                     d.half);
    }
}

static void a_failed_call_is_451_and_loses_nothing(void **state)
{
    (void)state;
    fail_each_call_once(EIO);
}

static void a_full_disk_is_452_and_loses_nothing(void **state)
{
    (void)state;
    fail_each_call_once(ENOSPC);
}

/* ---- segments that are not as they were -------------------------------------------------------------------------- */

#define EIGHT 8

struct image {
    unsigned char octets[SEGMENT];
    char path[LOG_PATH];
    size_t starts[EIGHT + 2]; /* of the batches of messages 1 to 8 */
};

static void image_read(struct image *image)
{
    for (unsigned slot = 0; slot < LOG_SLOTS; slot++) {
        struct log_segment_header h;
        log_path(image->path, slot);
        int fd = openat(root_fd, image->path, O_RDONLY);
        if (fd >= 0 && read(fd, image->octets, SEGMENT) == SEGMENT && log_segment_decode(image->octets, &h)) {
            close(fd);
            return;
        }
        close(fd);
    }
    fail_msg("no segment was used");
}

static void image_write(const struct image *image)
{
    int fd = openat(root_fd, image->path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, image->octets, SEGMENT, 0), SEGMENT);
    close(fd);
}

/* Eight messages, a batch each, and nothing behind. */
static void image_make(struct image *image)
{
    struct log_batch_header h;
    size_t n = 0;
    open_spool(&disk_real);
    wait_for_log();
    for (uint64_t i = 1; i <= EIGHT; i++)
        assert_int_equal(put(i, 300), 0);
    close_spool();
    image_read(image);
    for (size_t at = LOG_BLOCK; at < SEGMENT; at += LOG_BLOCK)
        if (log_batch_decode(image->octets + at, &h))
            image->starts[n++] = at;
    assert_int_equal(n, EIGHT);
    image->starts[n] = image->starts[n - 1] + LOG_BLOCK;
}

/* As it was found: nobody may write on it between two tries. */
static unsigned found_in(const struct image *image, const unsigned char octets[SEGMENT])
{
    struct image now = *image;
    unsigned n = 0;
    memcpy(now.octets, octets, SEGMENT);
    image_write(&now);
    open_spool(&disk_real);
    for (uint64_t i = 1; i <= EIGHT; i++) {
        n += known[i].found;
        if (known[i].found)
            assert_true(body_good(i));
    }
    close_spool();
    return n;
}

static void a_batch_torn_at_any_sector_does_not_count(void **state)
{
    (void)state;
    static struct image image;
    static unsigned char octets[SEGMENT];
    image_make(&image);
    assert_int_equal(found_in(&image, image.octets), EIGHT);
    size_t last = image.starts[EIGHT - 1], used = 1024; /* its record ends in the second sector */
    for (size_t at = last; at < last + used; at += SECTOR) {
        memcpy(octets, image.octets, SEGMENT);
        memset(octets + at, 0, SECTOR);
        assert_int_equal(found_in(&image, octets), EIGHT - 1);
        assert_null(known[EIGHT].found ? "8" : NULL);
    }
}

static void damage_costs_the_message_that_it_hits(void **state)
{
    (void)state;
    static struct image image;
    static unsigned char octets[SEGMENT];
    image_make(&image);
    for (size_t bit = 0; bit < image.starts[EIGHT] * 8; bit += 61) {
        size_t in_block = bit / 8 % LOG_BLOCK;
        if (in_block >= 1024 && bit / 8 > LOG_BLOCK)
            continue;
        memcpy(octets, image.octets, SEGMENT);
        octets[bit / 8] ^= (unsigned char)(1 << bit % 8);
        unsigned n = found_in(&image, octets);
        assert_true(n >= EIGHT - 1);
        if (bit / 8 < LOG_BLOCK)
            assert_int_equal(n, EIGHT);
    }
    /* A block that can't be read, each in turn: the first holds both copies of the header. */
    for (size_t block = 0; block <= EIGHT; block++) {
        memcpy(octets, image.octets, SEGMENT);
        memset(octets + block * LOG_BLOCK, 0xee, LOG_BLOCK);
        assert_int_equal(found_in(&image, octets), block == 0 ? EIGHT : EIGHT - 1);
    }
}

/* Damage to a batch's own header takes nothing from the records behind it. */
static void records_of_a_damaged_batch_are_salvaged(void **state)
{
    (void)state;
    static struct image image;
    static unsigned char octets[SEGMENT];
    image_make(&image);
    memcpy(octets, image.octets, SEGMENT);
    octets[image.starts[3] + 20] ^= 1;
    assert_int_equal(found_in(&image, octets), EIGHT);
}

/* A body that says it is a batch is believed only if it knows the segment's key. */
static void a_forged_batch_is_not_believed(void **state)
{
    (void)state;
    static struct image image;
    static unsigned char octets[SEGMENT];
    struct log_batch_header h;
    image_make(&image);
    memcpy(octets, image.octets, SEGMENT);
    assert_true(log_batch_decode(octets + image.starts[EIGHT - 1], &h));
    h.sequence++;
    h.key ^= 1;
    memcpy(octets + image.starts[EIGHT], octets + image.starts[0], LOG_BLOCK);
    log_batch_encode(&h, octets + image.starts[EIGHT]);
    h.oldest = UINT64_MAX;
    log_batch_encode(&h, octets + image.starts[EIGHT] + LOG_BLOCK);
    assert_int_equal(found_in(&image, octets), EIGHT);
}

static void what_lives_longer_than_its_segment_gets_a_file(void **state)
{
    (void)state;
    unsigned files = 0;
    open_spool(&media_ops);
    wait_for_log();
    for (uint64_t n = 1; n < 120; n++) {
        assert_int_equal(put(n, 5000), 0);
        defer(n);
        turn(1);
    }
    for (int i = 0; i < 100; i++)
        turn(1);
    for (uint64_t n = 1; n < 120; n++) {
        assert_true(body_good(n));
        files += has_file(n);
        defer(n);
    }
    assert_true(files > 20 && files < 119);
    assert_true(has_file(1) && has_file(2));
    close_spool();
    assert_int_equal(open_spool(&disk_real), 119);
    for (uint64_t n = 1; n < 120; n++) {
        assert_int_equal(known[n].found_attempts, 2);
        assert_true(body_good(n));
        take_out(n);
    }
    close_spool();
    assert_int_equal(open_spool(&disk_real), 0);
    close_spool();
}

static void a_spool_without_a_log_is_taken_over(void **state)
{
    (void)state;
    char text[64] = "";
    spool_log_size(0);
    open_spool(&disk_real);
    assert_int_equal(put(1, 500), 0);
    close_spool();
    assert_true(has_file(1));
    int fd = openat(root_fd, "version", O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "Postino spool version 1, written by Postino 0.1\n", 48), 48);
    close(fd);
    assert_int_equal(unlinkat(root_fd, "log", AT_REMOVEDIR), 0);
    spool_log_size(SEGMENT);
    assert_int_equal(open_spool(&disk_real), 1);
    assert_true(body_good(1));
    wait_for_log();
    assert_int_equal(put(2, 500), 0);
    close_spool();
    assert_false(has_file(2));
    fd = openat(root_fd, "version", O_RDONLY);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    assert_non_null(strstr(text, "version 2"));
    assert_int_equal(open_spool(&disk_real), 2);
    close_spool();
}

static void foreign_files_in_the_log_are_left_alone(void **state)
{
    (void)state;
    const char *names[] = {"log/README", "log/03", "log/0f"};
    open_spool(&disk_real);
    close_spool();
    for (size_t i = 0; i < 2; i++) {
        int fd = openat(root_fd, names[i], O_CREAT | O_WRONLY, 0600);
        assert_int_equal(write(fd, "mine", 4), 4);
        close(fd);
    }
    assert_int_equal(mkfifoat(root_fd, names[2], 0600), 0);
    open_spool(&disk_real);
    wait_for_log();
    for (uint64_t n = 1; n < 100; n++)
        assert_int_equal(put(n, 5000), 0);
    close_spool();
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(faccessat(root_fd, names[i], F_OK, 0), 0);
    assert_int_equal(open_spool(&disk_real), 99);
    close_spool();
}

int main(void)
{
    log_open("test_spool_log", open(getenv("SPOOL_LOG") ? getenv("SPOOL_LOG") : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600),
             LOG_TO_FILE, LOG_LEVEL_ERROR);
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, end)
    const struct CMUnitTest tests[] = {
        T(small_mail_makes_no_files),
        T(segments_are_recycled_over_many_lives),
        T(a_settlement_that_cannot_go_with_its_report_follows_it),
        T(a_batch_torn_at_any_sector_does_not_count),
        T(damage_costs_the_message_that_it_hits),
        T(records_of_a_damaged_batch_are_salvaged),
        T(a_forged_batch_is_not_believed),
        T(what_lives_longer_than_its_segment_gets_a_file),
        T(a_spool_without_a_log_is_taken_over),
        T(foreign_files_in_the_log_are_left_alone),
        T(before_the_flush_no_250_after_it_the_message_is_there),
        T(a_flush_that_does_nothing_is_noticed),
        T(a_failed_call_is_451_and_loses_nothing),
        T(a_full_disk_is_452_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
