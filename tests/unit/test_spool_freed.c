/* What becomes of a segment of the log that is free: one that could not be read is kept for a person, whatever happens; and what stood in one that is
 * gone comes back neither for qmgr nor for `postino spool`. */
#include "admin/spool_mend.h"
#include "common/log.h"
#include "common/queueid.h"
#include "qmgr/spool_private.h"
#include "tests/unit/spool_script.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct disk_ops ops;
static int flushes_left; /* until one fails; 0: none does */
static bool bad_block;
static enum { LINK_WORKS, LINK_FAILS, LINK_KILLS } link_mode;

static int failing_flush(int fd)
{
    if (flushes_left > 0 && --flushes_left == 0) {
        errno = EIO;
        return -1;
    }
    return disk_real.fdatasync(fd);
}

/* The second block of log/00. */
static ssize_t failing_pread(int fd, void *to, size_t n, off_t at)
{
    char link[64], path[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    if (bad_block && strstr(path, "/log/00") && at + (off_t)n > LOG_BLOCK && at < 2 * LOG_BLOCK) {
        errno = EIO;
        return -1;
    }
    return disk_real.pread(fd, to, n, at);
}

static int failing_link(int directory, const char *from, const char *to)
{
    if (link_mode == LINK_KILLS)
        _exit(0);
    if (link_mode == LINK_WORKS)
        return disk_real.linkat(directory, from, to);
    errno = ENOSPC;
    return -1;
}

static void open_failing(void)
{
    ops = disk_real;
    ops.fdatasync = failing_flush;
    ops.pread = failing_pread;
    ops.linkat = failing_link;
    open_spool(&ops);
    wait_for_log();
}

static void settle_now(void)
{
    for (int i = 0; i < 30; i++)
        turn(2);
}

/* ---- what could not be read ------------------------------------------------------------------------------------------ */

/* A life in which a block of log/00 can't be read; it ends by _exit(), as if it were killed. */
static void unreadable_life(int mode)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bad_block = true;
        link_mode = mode;
        open_failing();
        for (uint64_t n = 2; n < 6; n++) {
            put(n, 500);
            settle_now();
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static bool set_aside(void)
{
    return faccessat(root_fd, "bad/log-00-1", F_OK, 0) == 0;
}

static void what_cannot_be_read_is_kept_whatever_fails(void **state)
{
    (void)state;
    for (int mode = LINK_WORKS; mode <= LINK_KILLS; mode++) {
        again();
        open_failing();
        assert_int_equal(put(1, 1000), 0);
        close_spool();
        unreadable_life(mode);
        open_spool(&disk_real); /* the disk is well again */
        assert_true(known[1].found || set_aside());
        assert_int_equal(known[1].found, mode != LINK_WORKS);
        close_spool();
    }
}

/* ---- what is gone ---------------------------------------------------------------------------------------------------- */

static unsigned damaged, found_first;

static void count_damage(const struct finding *f, void *arg)
{
    (void)f, (void)arg;
    damaged++;
}

static int count_first(const struct survey_message *m, void *arg)
{
    (void)arg;
    found_first += m->id == ID(1);
    return 0;
}

/* Its MSG is in the oldest segment, its REMOVE in the next one, which is removed from the disk: a flush of it failed. */
static void what_was_removed_stays_so_though_its_segment_is_gone(void **state)
{
    (void)state;
    struct error error = {{0}};
    struct survey_sums sums;
    struct survey_calls calls = {.finding = count_damage, .message = count_first};
    uint64_t n = 2;
    open_failing();
    put(1, 1000);
    for (int first = spool->log.open; spool->log.open == first; settle_now())
        put(n++, 4000);
    take_out(1);
    put(n++, 500);
    settle_now();
    flushes_left = 1;
    assert_int_equal(put(n++, 500), EIO);
    put(n++, 500);
    for (uint64_t i = 2; i + 1 < n; i++)
        if (known[i].status == 0)
            take_out(i);
    for (int i = 0; i < 3; i++) {
        settle_now();
        put(n++, 500);
    }
    close_spool();
    damaged = found_first = 0;
    disk = &disk_real;
    assert_int_equal(spool_survey(root_fd, &calls, &sums, &error), 0);
    assert_int_equal(found_first, 0);
    assert_int_equal(damaged, 0);
    open_spool(&disk_real);
    assert_false(known[1].found);
    close_spool();
}

int main(void)
{
    log_open("test_spool_freed", open("/dev/null", O_WRONLY), LOG_TO_FILE, LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_kept_whatever_fails, fresh, end),
        cmocka_unit_test_setup_teardown(what_was_removed_stays_so_though_its_segment_is_gone, fresh, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
