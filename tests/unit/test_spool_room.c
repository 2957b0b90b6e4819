/* When there is little room: in a segment, in the log, on the disk, in a batch. What is said about mail that was taken in must always find some,
 * and the log must find its way back. */
#include "common/log.h"
#include "qmgr/spool_private.h"
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

static void turn_until_settled(unsigned milliseconds)
{
    uint64_t end = spool_monotonic() + milliseconds;
    spool_hurry(spool);
    while (spool->settlings && spool_monotonic() < end)
        turn(5);
}

static uint64_t octets_of(const char *path)
{
    struct stat st;
    return fstatat(root_fd, path, &st, 0) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- all segments are in use ------------------------------------------------------------------------------------- */

/* Each life begins a segment, and none can be freed, as nothing can be moved to a file: until there is room for files again. */
static void a_log_without_a_free_segment_finds_its_way_back(void **state)
{
    (void)state;
    uint64_t n = 1;
    for (unsigned life = 0; life < LOG_MOST; life++, n++) {
        open_spool(&media_ops);
        wait_for_log();
        media.no_files = true;
        assert_int_equal(put(n, 1000), 0);
        close_spool();
    }
    open_spool(&media_ops);
    assert_int_equal(log_count_in_use(&spool->log), LOG_MOST);
    for (uint64_t i = 1; i < n; i++) {
        assert_true(known[i].found && body_good(i));
        if (i % 2)
            defer(i);
        else
            take_out(i);
    }
    turn_until_settled(3000);
    assert_null(spool->settlings);
    assert_int_equal(put(n, 1000), ENOSPC); /* the last segments are not for mail */
    media.no_files = false;
    close_spool();
    for (int life = 0; life < 3; life++) {
        open_spool(&media_ops);
        assert_int_equal(unsettled(), 0);
        assert_true(no_damage(check_all(0)));
        for (int i = 0; i < 200 && log_count_in_use(&spool->log) > LOG_IN_USE; i++)
            turn(5);
        assert_true(log_count_in_use(&spool->log) <= LOG_IN_USE);
        wait_for_log();
        assert_int_equal(put(n, 1000), 0);
        assert_false(has_file(n++));
        close_spool();
    }
}

/* ---- one free segment is left ------------------------------------------------------------------------------------ */

/* Mail does not fill the last one to its end with the batch that begins it. */
static void the_last_segments_reserve_is_kept_from_its_first_batch(void **state)
{
    (void)state;
    open_spool(&media_ops);
    wait_for_log();
    struct log *log = &spool->log;
    for (uint64_t n = 1; n <= 8; n++)
        put_later(n, 9000, 0);    /* more than a segment */
    log->grow_again = UINT64_MAX; /* no other comes */
    for (uint64_t n = 1; n <= 8; n++)
        turn_until(&known[n].status);
    assert_int_equal(log_count(log, LOG_FREE) + log_count(log, LOG_GROWING), 0);
    assert_true(log->at <= log->size - log->size / 4);
    for (uint64_t n = 1; n <= 8; n++)
        take_out(n);
    turn_until_settled(1000);
    assert_null(spool->settlings);
    close_spool();
    assert_int_equal(open_spool(&media_ops), 0);
    close_spool();
}

/* ---- a flood ----------------------------------------------------------------------------------------------------- */

#define FLOOD 30

/* As much new mail waits as batches can take, always: what is settled goes with it all the same. */
static void settlements_do_not_starve_in_a_flood_of_mail(void **state)
{
    (void)state;
    const uint32_t sizes[] = {256 << 10, 4 << 20};
    for (size_t i = 0; i < 2; i++) {
        uint64_t next = 2, answered = 2;
        again();
        spool_log_size(sizes[i]);
        open_spool(&media_ops);
        wait_for_log();
        assert_int_equal(put(1, 1000), 0);
        for (; next < FLOOD; next++)
            put_later(next, 120000, 0);
        turn(1);
        defer(1);
        while (spool_entry_find(spool, ID(1))->settling && answered < MESSAGES - FLOOD) {
            turn(1);
            for (; known[answered].status >= 0; answered++)
                put_later(next++, 120000, 0);
        }
        assert_true(answered < 90);
        close_spool();
        open_spool(&media_ops);
        assert_int_equal(unsettled(), 0);
        close_spool();
    }
}

/* ---- a small disk ------------------------------------------------------------------------------------------------ */

/* It is full sooner or later, at whatever write that is. */
static void a_disk_of_any_size_that_gets_full_loses_nothing(void **state)
{
    (void)state;
    unsigned sizes = 0, refused = 0;
    for (uint64_t size = 128 << 10; size < 1500 << 10; size += getenv("SPOOL_LONG") ? 4096 : 61440, sizes++) {
        again();
        media.capacity = size;
        open_spool(&media_ops);
        run_script(42);
        for (uint64_t n = 1; n < MESSAGES; n++) {
            assert_true(known[n].status <= 0 || known[n].status == ENOSPC);
            refused += known[n].status > 0;
        }
        media.capacity *= 2; /* someone makes room, and what waited for it is written */
        for (struct settling *x = spool->settlings; x; x = x->next)
            x->not_before = x->not_before ? 1 : 0;
        spool->log.grow_again = 0;
        close_spool();
        power_cut();
        open_spool(&media_ops);
        struct damage d = check_all((unsigned)size);
        if (!no_damage(d))
            fail_msg("%u KiB: %u messages lost, %u wrong, %u reports without their settlement", (unsigned)(size >> 10), d.lost, d.wrong,
                     d.half);
        close_spool();
    }
    print_message("    %u sizes, %u times ENOSPC; none lost\n", sizes, refused);
    assert_true(refused > sizes);
}

/* ---- a disk that can't be read ----------------------------------------------------------------------------------- */

/* A block of the log fails for the whole of a life: what stands there is not overwritten when its segment is free. */
static void a_segment_that_cannot_be_read_is_set_aside(void **state)
{
    (void)state;
    struct stat st;
    struct log *log;
    open_spool(&media_ops);
    wait_for_log();
    for (uint64_t n = 1; n <= 4; n++)
        assert_int_equal(put(n, 1000), 0);
    int slot = spool->log.open;
    uint64_t epoch = spool->log.segments[slot].epoch;
    uint64_t second = spool_entry_find(spool, ID(2))->offset;
    close_spool();
    log_path(media.bad_path, (unsigned)slot);
    media.bad_at = second;
    assert_int_equal(open_spool(&media_ops), 3);
    assert_false(known[2].found);
    wait_for_log();
    log = &spool->log;
    for (uint64_t n = 1; n <= 4; n++)
        take_out(n);
    for (uint64_t n = 5; n < 60 && log->segments[slot].epoch == epoch; n++)
        assert_int_equal(put(n, 8000), 0);
    assert_true(log->segments[slot].epoch != epoch);
    close_spool();
    char path[64], text[1000] = "";
    snprintf(path, sizeof path, "bad/log-%02x-%llu", (unsigned)slot, (unsigned long long)epoch);
    assert_int_equal(fstatat(root_fd, path, &st, 0), 0);
    int fd = openat(root_fd, path, O_RDONLY);
    assert_int_equal(pread(fd, text, sizeof text, (off_t)second), sizeof text);
    close(fd);
    assert_memory_equal(text, "PSTN", 4);
}

/* What is left of a message that was damaged in the log is in bad/, flushed, before the log forgets it. */
static void a_message_damaged_in_the_log_is_set_aside(void **state)
{
    (void)state;
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_BAD, ID(1));
    open_spool(&media_ops);
    wait_for_log();
    assert_int_equal(put(1, 3000), 0);
    assert_int_equal(put(2, 3000), 0);
    const struct spool_entry *e = spool_entry_find(spool, ID(1));
    assert_int_equal(pwrite(spool->log.segments[e->segment].fd, "x!", 2, (off_t)e->offset + 1000), 2);
    media.flushes = 0;
    assert_false(body_good(1));
    assert_int_equal(media.flushes, 1);
    assert_true(octets_of(path) > 3000);
    assert_true(body_good(2));
    for (int life = 0; life < 2; life++) {
        close_spool();
        assert_int_equal(open_spool(&media_ops), 1);
        assert_true(known[2].found && body_good(2));
    }
    close_spool();
}

/* ---- segments of another size ------------------------------------------------------------------------------------ */

/* The disk was larger or smaller in the life before: what those segments hold is read, and none of them is used again. */
static void a_log_of_another_size_is_read_and_replaced(void **state)
{
    (void)state;
    const uint32_t sizes[] = {SEGMENT, 4 * SEGMENT, 0, 2 * SEGMENT, SEGMENT};
    uint64_t n = 1;
    for (size_t i = 0; i < 5; i++) {
        spool_log_size(sizes[i]);
        open_spool(&media_ops);
        assert_true(unsettled() == 0 && no_damage(check_all((unsigned)i)));
        for (uint64_t old = 1; old < n; old++) {
            if (known[old].found && old % 3 == i % 3)
                take_out(old);
            else if (known[old].found)
                defer(old);
        }
        if (sizes[i] > 0)
            wait_for_log();
        for (unsigned more = 0; more < 12; more++)
            assert_int_equal(put(n++, 3000), 0);
        close_spool();
        power_cut();
    }
    open_spool(&media_ops);
    assert_true(unsettled() == 0 && no_damage(check_all(5)));
    close_spool();
}

/* ---- ten thousand recipients ------------------------------------------------------------------------------------- */

#define MANY 10000

static size_t many_found;

static void count_settled(const struct spool_envelope *e, const struct spool_state *states, size_t count, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < count && e->id == ID(1); i++)
        many_found += states[i].attempts == 2 + i % 7 && states[i].state == (i % 3 ? RECIPIENT_WAITING : RECIPIENT_DONE);
}

static void many_answered(int status, void *arg)
{
    *(int *)arg = status;
}

/* Their states are more than a segment holds: the message moves to a file first. All are there after the next start, the last of each. */
static void the_states_of_ten_thousand_recipients_outgrow_a_segment(void **state)
{
    (void)state;
    static char words[300];
    struct buf recipients = BUF_EMPTY(0);
    struct error error;
    int status = -1;
    memset(words, 'w', sizeof words);
    struct record_recipient r = {.address = SPAN_LITERAL("r@example.org"), .transport = SPAN_LITERAL("smtp"), .nexthop = SPAN_LITERAL("x")};
    for (unsigned i = 0; i < MANY; i++)
        record_recipient_add(&recipients, &r);
    struct spool_envelope e = {.id = ID(1), .arrived = 1, .recipients = {.count = MANY, .bytes = buf_span(&recipients)}};
    spool_log_size(1 << 20);
    open_spool(&media_ops);
    wait_for_log();
    spool_put(spool, &e, SPAN_LITERAL("hello\r\n"), many_answered, &status);
    turn_until(&status);
    assert_int_equal(status, 0);
    assert_false(has_file(1));
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            struct spool_state s = {.index = i, .state = RECIPIENT_WAITING, .attempts = 1, .due = 5, .reason = {words, sizeof words}};
            if (round == 1) {
                s.attempts = 2 + i % 7;
                s.state = i % 3 ? RECIPIENT_WAITING : RECIPIENT_DONE;
            }
            spool_settle(spool, ID(1), &s, 1);
        }
        turn_until_settled(20000);
        assert_null(spool->settlings);
    }
    assert_true(has_file(1));
    close_spool();
    power_cut();
    disk = &disk_real;
    spool = spool_open(root_fd, 0, &error);
    assert_non_null(spool);
    many_found = 0;
    assert_int_equal(spool_recover(spool, count_settled, NULL, &error), 1);
    assert_int_equal(many_found, MANY);
    close_spool();
    buf_free(&recipients);
}

/* ---- settled for days -------------------------------------------------------------------------------------------- */

#define WORDS 100000

static void say_at_length(uint32_t attempts)
{
    static char words[WORDS];
    memset(words, 'w', sizeof words);
    struct spool_state s = {.state = RECIPIENT_WAITING, .attempts = attempts, .due = 5000, .reason = {words, sizeof words}};
    known[1].attempts = attempts;
    spool_settle(spool, ID(1), &s, 1);
}

/* Until it is on disk, or has failed. */
static void settle_at_length(uint32_t attempts)
{
    say_at_length(attempts);
    spool_hurry(spool);
    for (int i = 0; i < 1000 && ((spool->settlings && spool->settlings->not_before == 0) || spool->busy); i++)
        turn(5);
}

/* A message that is deferred again and again: its file, and what is gathered while nothing can be written, stay small. */
static void a_file_that_is_settled_for_days_stays_small(void **state)
{
    (void)state;
    char path[SPOOL_PATH];
    uint64_t most = 0;
    open_spool(&media_ops);
    spool_path(path, SPOOL_IN_MSG, ID(1));
    assert_int_equal(put(1, 290000), 0);
    for (uint32_t i = 1; i <= 200; i++) {
        settle_at_length(i);
        most = octets_of(path) > most ? octets_of(path) : most;
        assert_true(body_good(1));
    }
    assert_true(most > 290000 + 500000 && most < 290000 + (1 << 20) + 2 * WORDS);
    close_spool();
    open_spool(&media_ops);
    assert_true(no_damage(check_all(0)) && unsettled() == 0);
    media.fail_at = 1; /* for hours */
    media.calls = 0;
    settle_at_length(201);
    for (uint32_t i = 202; i <= 700; i++)
        say_at_length(i);
    assert_non_null(spool_entry_find(spool, ID(1))->settling);
    assert_true(spool_entry_find(spool, ID(1))->settling->states.cap < 8 << 20);
    media_again();
    spool->settlings->not_before = 1;
    spool_settle_by(spool, 1);
    close_spool();
    open_spool(&media_ops);
    assert_int_equal(unsettled(), 0);
    close_spool();
}

static void to_the_brink(void)
{
    again();
    spool_log_size(0);
    open_spool(&media_ops);
    assert_int_equal(put(1, 290000), 0);
    for (uint32_t i = 1; i <= 10; i++)
        settle_at_length(i);
    media_again();
}

/* While it is written anew a call fails, or the power goes: it is the old file or the new one, and what was flushed of its states counts. */
static void a_file_that_is_written_anew_is_whole_after_a_cut_at_any_call(void **state)
{
    (void)state;
    unsigned calls, cuts = 0;
    to_the_brink();
    media.names = 0;
    settle_at_length(11);
    calls = media.calls;
    assert_true(media.names == 2); /* tmp/ID, and its renaming */
    close_spool();
    for (unsigned at = 1; at <= calls; at++) {
        for (unsigned kind = 0; kind < 12; kind++, cuts++) {
            to_the_brink();
            dice = at * 100 + kind;
            media.once = kind % 4 == 3;
            media.error = kind == 3 ? ENOSPC : EIO;
            media.fail_at = at;
            settle_at_length(11);
            if (media.once && spool->settlings) { /* in ten seconds */
                spool->settlings->not_before = 1;
                spool_settle_by(spool, 1);
            }
            close_spool();
            bool alive = media.once;
            power_cut();
            media_again();
            for (int life = 0; life < 2; life++) {
                open_spool(&media_ops);
                assert_true(no_damage(check_all(at)));
                if (known[1].found_attempts < (alive ? 11 : 10))
                    fail_msg("call %u (%s): settlement %u is the last", at, alive ? "failed" : "cut", known[1].found_attempts);
                close_spool();
            }
        }
    }
    print_message("    %u calls, %u cuts and failures; none lost\n", calls, cuts);
}

int main(void)
{
    log_open("test_spool_room", open(getenv("SPOOL_LOG") ? getenv("SPOOL_LOG") : "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600),
             LOG_TO_FILE, LOG_LEVEL_ERROR);
#define T(name) cmocka_unit_test_setup_teardown(name, fresh, end)
    const struct CMUnitTest tests[] = {
        T(a_log_without_a_free_segment_finds_its_way_back), T(the_last_segments_reserve_is_kept_from_its_first_batch),
        T(settlements_do_not_starve_in_a_flood_of_mail),    T(a_disk_of_any_size_that_gets_full_loses_nothing),
        T(a_segment_that_cannot_be_read_is_set_aside),      T(a_message_damaged_in_the_log_is_set_aside),
        T(a_log_of_another_size_is_read_and_replaced),      T(the_states_of_ten_thousand_recipients_outgrow_a_segment),
        T(a_file_that_is_settled_for_days_stays_small),     T(a_file_that_is_written_anew_is_whole_after_a_cut_at_any_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
