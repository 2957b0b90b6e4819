/* Each allocation of the spool fails once, in turn, and each call of a recovery: what was acknowledged is there afterwards, exactly as it was
 * sent, and nothing else by halves. An allocation may make a request fail (451), or end the process in good order: then the next start has
 * everything. What it may not: crash, hang, or forget a settlement in a process that lives on.
 *
 * SPOOL_LONG=1 takes every allocation and every call; without it, some. */
#include "common/log.h"
#include "qmgr/log_store.h"
#include "tests/unit/alloc_fail.h"
#include "tests/unit/spool_script.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- allocations ------------------------------------------------------------------------------------------------- */

static void live_the_script(void)
{
    if (try_spool(&disk_real) != 0)
        return; /* it says why, and ends */
    for (int i = 0; i < 50 && !spool_log_ready(spool); i++)
        turn(5); /* without memory for a segment there is none for a minute */
    run_script(42);
    close_spool();
}

static void only_recover(void)
{
    if (try_spool(&disk_real) == 0)
        close_spool();
}

struct tally {
    unsigned tried, died, done;
};

/* What is left is recovered with all memory. */
static void look_after(unsigned at, enum child_end end, struct tally *tally)
{
    if (end == CHILD_CRASHED || end == CHILD_HUNG)
        fail_msg("allocation %u failed: the spool %s", at, end == CHILD_HUNG ? "hangs" : "crashed, or served what is wrong");
    tally->tried++;
    tally->died += end == CHILD_DIED;
    tally->done += end == CHILD_DONE;
    open_spool(&disk_real);
    struct damage d = check_all(at);
    unsigned forgotten = end == CHILD_DONE ? unsettled() : 0;
    close_spool();
    if (!no_damage(d) || forgotten > 0)
        fail_msg("allocation %u failed (%s): %u messages lost, %u wrong, %u reports without their settlement, %u settlements forgotten", at,
                 end == CHILD_DIED ? "it ended" : "it lived on", d.lost, d.wrong, d.half, forgotten);
}

static void report(const char *what, unsigned all, const struct tally *t)
{
    print_message("    %s: %u allocations, %u failed in turn: %u times it ended in good order, %u times it lived on; none lost\n", what,
                  all, t->tried, t->died, t->done);
}

static void each_allocation_of_the_script_fails_once(void **state)
{
    (void)state;
    struct tally tally = {0};
    assert_int_equal(alloc_fail_child(0, live_the_script), CHILD_DONE);
    unsigned all = alloc_count(), by = step(all, 90);
    assert_true(all > 1000);
    for (unsigned at = 1; at <= all; at += by) {
        again();
        look_after(at, alloc_fail_child(at, live_the_script), &tally);
    }
    report("script", all, &tally);
    assert_true(tally.died > 0 && tally.done > 0);
}

/* Recovery again and again of one rich spool: log, files, settlements, reports, removals that were not written. */
static void each_allocation_of_a_recovery_fails_once(void **state)
{
    (void)state;
    struct tally tally = {0};
    assert_int_equal(alloc_fail_child(0, live_the_script), CHILD_DONE);
    assert_int_equal(alloc_fail_child(0, only_recover), CHILD_DONE);
    unsigned all = alloc_count(), by = step(all, 90);
    assert_true(all > 100);
    for (unsigned at = 1; at <= all; at += by)
        look_after(at, alloc_fail_child(at, only_recover), &tally);
    report("recovery", all, &tally);
}

/* ---- recovery: each call ----------------------------------------------------------------------------------------- */

/* A rich spool: what a power cut in the middle of the script has left, or the script's end. */
static void make_image(unsigned cut_at)
{
    again();
    dice = cut_at;
    open_spool(&media_ops);
    wait_for_log();
    media_again();
    media.fail_at = cut_at;
    run_script(42);
    if (!media_dead())
        media.fail_at = 1;
    close_spool();
    power_cut();
    media_again();
    media_save();
}

static unsigned calls_of_script(void)
{
    again();
    open_spool(&media_ops);
    wait_for_log();
    media_again();
    run_script(42);
    unsigned calls = media.calls;
    close_spool();
    return calls;
}

/* It is not only recovered: what it holds is settled, taken out, told about, as a queue does. */
static void live_on(void)
{
    unsigned n = 0;
    for (uint64_t i = 1; i < MESSAGES && !media_dead(); i++) {
        if (!known[i].found || known[i].status != 0 || known[i].removed || known[i].parent || known[i].attempts == TOLD)
            continue;
        n++;
        if (n % 3 == 0)
            take_out(i);
        else
            defer(i);
        if (n % 4 == 0)
            turn(2);
    }
}

static unsigned calls_of_recovery(bool reads, bool changes)
{
    static struct known before[MESSAGES];
    memcpy(before, known, sizeof before);
    media_restore();
    media_again();
    media.reads = reads;
    media.changes = changes;
    open_spool(&media_ops);
    if (changes)
        live_on();
    close_spool();
    unsigned calls = media.calls;
    media_again();
    memcpy(known, before, sizeof before);
    return calls;
}

static void must_have_all(const char *what, unsigned at, unsigned outer)
{
    for (int life = 1; life <= 2; life++) {
        open_spool(&disk_real);
        struct damage d = check_all(at);
        close_spool();
        if (!no_damage(d))
            fail_msg("%s at call %u of a recovery (image of the cut at %u), life %d: %u messages lost, %u wrong, %u reports without their "
                     "settlement",
                     what, at, outer, life, d.lost, d.wrong, d.half);
    }
}

static unsigned found_wrong(void)
{
    unsigned n = 0;
    for (uint64_t i = 1; i < MESSAGES; i++)
        n += known[i].found && known[i].status == 0 && !known[i].removed && !body_good(i);
    return n;
}

/* What can't be read may be missing in that life. In the next it is there. */
static void each_call_of_a_recovery_fails_once(void **state)
{
    (void)state;
    const int errors[] = {EIO, ENOSPC, EMFILE};
    unsigned tried = 0, refused = 0;
    make_image(calls_of_script());
    unsigned all = calls_of_recovery(true, false);
    for (size_t e = 0; e < 3; e++) {
        unsigned by = step(all, e == 0 ? 150 : 40);
        for (unsigned at = 1 + (unsigned)e; at <= all; at += by) {
            media_restore();
            media_again();
            media.reads = media.once = true;
            media.error = errors[e];
            media.fail_at = at;
            int status = try_spool(&media_ops);
            refused += status != 0;
            if (status == 0) {
                assert_int_equal(found_wrong(), 0);
                close_spool();
            }
            media_again();
            must_have_all(strerror(errors[e]), at, 0);
            tried++;
        }
    }
    print_message("    %u calls, %u failures; %u times it did not start, and said why; none lost\n", all, tried, refused);
}

/* The power goes in the run, and again in the recovery, and perhaps half of what that wrote is there. */
static void power_cuts_in_a_recovery_lose_nothing(void **state)
{
    (void)state;
    static struct known before[MESSAGES];
    unsigned images = 0, cuts = 0, calls = calls_of_script(), by = getenv("SPOOL_LONG") ? 5 : calls / 8;
    for (unsigned outer = by; outer <= calls; outer += by) {
        make_image(outer);
        unsigned all = calls_of_recovery(false, true), inner = step(all, 6);
        memcpy(before, known, sizeof before);
        images++;
        for (unsigned at = 1; at <= all; at += inner) {
            media_restore();
            media_again();
            dice = outer * 1000 + at;
            media.changes = true;
            media.fail_at = at;
            if (try_spool(&media_ops) == 0) {
                live_on();
                close_spool();
            }
            power_cut();
            media_again();
            must_have_all("power cut", at, outer);
            memcpy(known, before, sizeof before);
            cuts++;
        }
    }
    print_message("    %u images of %u calls, %u cuts in their recoveries; none lost\n", images, calls, cuts);
}

int main(void)
{
    log_open("test_spool_torture", open(getenv("SPOOL_LOG") ? getenv("SPOOL_LOG") : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600),
             LOG_TO_FILE, LOG_LEVEL_ERROR);
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, end)
    const struct CMUnitTest tests[] = {
        T(each_allocation_of_the_script_fails_once),
        T(each_allocation_of_a_recovery_fails_once),
        T(each_call_of_a_recovery_fails_once),
        T(power_cuts_in_a_recovery_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
