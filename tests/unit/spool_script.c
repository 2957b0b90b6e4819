#include "tests/unit/spool_script.h"
#include "qmgr/spool_file.h"
#include "tests/unit/alloc_fail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE = 12000 }; /* turns of 5 ms: a minute */

struct known *known;
struct spool *spool;
static struct buf recipient; /* the list of one that all have */

static void answered(int status, void *arg)
{
    *(int *)arg = status;
}

void turn(int milliseconds)
{
    spool_turn(spool);
    struct pollfd p = {.fd = spool_fd(spool), .events = POLLIN};
    poll(&p, 1, milliseconds);
    spool_turn(spool);
}

void turn_until(const int *status)
{
    for (int i = 0; i < PATIENCE && *status == -1; i++)
        turn(5);
    child_must(*status >= 0);
}

static void body_fill(char *out, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + (i * 7 + number * 13 + i / 97) % 26);
}

static void put_last(uint64_t n, struct span last, uint64_t parent)
{
    struct spool_envelope e = {.id = ID(n), .arrived = 1, .flow = SPAN_LITERAL("flow"), .sender = SPAN_LITERAL("s@example.com")};
    e.parent = parent ? ID(parent) : 0;
    e.recipients = (struct list){.count = 1, .bytes = buf_span(&recipient)};
    struct spool_state told = {.state = RECIPIENT_WAITING, .attempts = TOLD, .due = 9, .reason = SPAN_LITERAL("no such user")};
    if (parent)
        spool_put_settling(spool, &e, last, &told, 1, answered, &known[n].status);
    else
        spool_put(spool, &e, last, answered, &known[n].status);
}

void put_later(uint64_t n, size_t octets, uint64_t parent)
{
    static char body[LARGE];
    assert_true(octets <= sizeof body);
    body_fill(body, octets, n);
    known[n] = (struct known){.status = -1, .octets = octets, .parent = parent};
    put_last(n, span_make(body, octets), parent);
}

void put_pieces(uint64_t n, size_t octets)
{
    static char body[LARGE];
    assert_true(octets <= sizeof body);
    body_fill(body, octets, n);
    for (size_t i = 0; i < 2; i++) {
        known[n] = (struct known){.status = -1, .octets = octets};
        spool_append(spool, ID(n), span_make(body + i * (octets / 3), octets / 3), answered, &known[n].status);
        turn_until(&known[n].status);
        if (known[n].status != 0) {
            spool_drop(spool, ID(n));
            return;
        }
    }
    known[n].status = -1;
    put_last(n, span_make(body + octets / 3 * 2, octets - octets / 3 * 2), 0);
    turn_until(&known[n].status);
}

int put(uint64_t n, size_t octets)
{
    put_later(n, octets, 0);
    turn_until(&known[n].status);
    return known[n].status;
}

void defer(uint64_t n)
{
    struct spool_state s = {.state = RECIPIENT_WAITING, .attempts = ++known[n].attempts, .due = 5000, .reason = SPAN_LITERAL("not now")};
    spool_settle(spool, ID(n), &s, 1);
}

void take_out(uint64_t n)
{
    known[n].removed = true;
    spool_remove(spool, ID(n));
}

static void find(const struct spool_envelope *e, const struct spool_state *states, size_t count, void *arg)
{
    (void)arg;
    child_must(count == 1);
    child_must(e->id >= ID(0) && e->id < ID(MESSAGES));
    struct known *k = &known[e->id - ID(0)];
    child_must(!k->found);
    child_must(k->status != -2);
    child_must(e->size == k->octets);
    child_must(span_equal(e->sender, SPAN_LITERAL("s@example.com")));
    k->found = true;
    k->found_attempts = states[0].attempts;
}

static struct error why;

static long open_as_told(const struct disk_ops *ops)
{
    disk = ops;
    spool = spool_open(root_fd, 0, &why);
    for (size_t i = 0; i < MESSAGES; i++)
        known[i].found = false;
    return spool ? spool_recover(spool, find, NULL, &why) : -1;
}

long open_spool(const struct disk_ops *ops)
{
    long n = open_as_told(ops);
    if (n < 0)
        fail_msg("%s", why.text);
    return n;
}

/* A qmgr that can't open its spool ends without writing anything more. */
int try_spool(const struct disk_ops *ops)
{
    if (open_as_told(ops) >= 0)
        return 0;
    unsigned fail_at = media.fail_at;
    bool once = media.once;
    if (spool) {
        media.fail_at = 1;
        media.once = false;
        close_spool();
        media.fail_at = fail_at;
        media.once = once;
    }
    return -1;
}

void wait_for_log(void)
{
    for (int i = 0; i < PATIENCE && !spool_log_ready(spool); i++)
        turn(5);
    child_must(spool_log_ready(spool));
}

void close_spool(void)
{
    spool_close(spool);
    spool = NULL;
}

bool has_file(uint64_t n)
{
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_MSG, ID(n));
    return faccessat(root_fd, path, F_OK, 0) == 0;
}

bool body_good(uint64_t n)
{
    static char read[LARGE], body[LARGE];
    long got = spool_read(spool, ID(n), 0, read, sizeof read);
    body_fill(body, known[n].octets, n);
    return got == (long)known[n].octets && memcmp(read, body, known[n].octets) == 0;
}

static void begin(void)
{
    struct record_recipient r = {
        .address = SPAN_LITERAL("one@example.org"), .transport = SPAN_LITERAL("smtp"), .nexthop = SPAN_LITERAL("example.net")};
    buf_clear(&recipient);
    record_recipient_add(&recipient, &r);
    forget_media();
    media_again();
    for (size_t i = 0; i < MESSAGES; i++)
        known[i] = (struct known){.status = -2};
    spool_log_size(SEGMENT);
    dice = 1;
}

int fresh(void **state)
{
    (void)state;
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(root_path, sizeof root_path, "%s/test_spool_log.XXXXXX", tmp);
    assert_non_null(mkdtemp(root_path));
    root_fd = open(root_path, O_RDONLY | O_DIRECTORY);
    assert_true(root_fd >= 0);
    if (!known)
        known = mmap(NULL, MESSAGES * sizeof *known, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(known != MAP_FAILED);
    begin();
    return 0;
}

int end(void **state)
{
    (void)state;
    char command[128];
    disk = &disk_real;
    close(root_fd);
    snprintf(command, sizeof command, "rm -rf %s", root_path);
    assert_int_equal(system(command), 0);
    return 0;
}

static void empty(const char *path)
{
    int fd = openat(root_fd, path, O_RDONLY | O_DIRECTORY);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir)
        return;
    for (struct dirent *d; (d = readdir(dir));)
        unlinkat(fd, d->d_name, 0);
    closedir(dir);
}

/* The directories stay, as most of the time would go there. */
void again(void)
{
    char shelf[SPOOL_PATH];
    spool_shelf_path(shelf, spool_shelf(ID(0)));
    const char *paths[] = {"log", "tmp", "bad", shelf};
    for (size_t i = 0; i < 4; i++)
        empty(paths[i]);
    begin();
}

/* Files are settled again and again. */
static void settle_cold(uint64_t n)
{
    unsigned hits = 0;
    for (uint64_t i = n - 1; i > 0 && hits < 3; i--) {
        struct known *k = &known[i];
        if (k->status == 0 && !k->removed && !k->parent && k->attempts < 9 && has_file(i)) {
            defer(i);
            hits++;
        }
    }
}

void run_script(uint64_t seed)
{
    uint64_t mine = dice, old = seed;
    for (uint64_t n = 1; n < MESSAGES - 2 && !media_dead(); n++) {
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
        } else if (n % 23 == 0) {
            put_pieces(n, 9000);
        } else {
            put(n, octets);
        }
        if (n % 10 == 0)
            settle_cold(n);
        if (what == 2 && good && known[about].attempts < 5)
            defer(about);
        else if (what >= 3 && good && about % 9 != 0)
            take_out(about);
        mine = dice;
    }
}

struct damage check_all(unsigned at)
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

#ifdef POSTINO_SANITIZER /* looks for other things */
#define SHARE 3
#else
#define SHARE 1
#endif

unsigned stride(void)
{
    return getenv("SPOOL_LONG") ? 1 : 14 * SHARE;
}

unsigned step(unsigned steps, unsigned most)
{
    return getenv("SPOOL_LONG") || steps <= most / SHARE ? 1 : steps * SHARE / most;
}

bool no_damage(struct damage d)
{
    return d.lost == 0 && d.wrong == 0 && d.half == 0;
}

unsigned unsettled(void)
{
    unsigned n = 0;
    for (uint64_t i = 1; i < MESSAGES; i++) {
        const struct known *k = &known[i];
        bool wrong = k->status == 0 && (k->removed ? k->found : k->found_attempts != k->attempts);
        n += wrong;
        if (wrong && getenv("SPOOL_TELL"))
            print_message("message %d: removed %d, found %d, attempts %u, found %u\n", (int)i, k->removed, k->found, k->attempts,
                          k->found_attempts);
    }
    return n;
}
