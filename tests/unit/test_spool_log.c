/* The spool's log: what was acknowledged is there after a power cut at any call, whatever part of the unflushed sectors reached the disk, and
 * in whatever order. Names follow the crash matrix of docs/spool.md.
 * The disk is disk_model.h's, what is asked of it spool_script.h's. */
#include "common/log.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/log_store.h"
#include "qmgr/spool.h"
#include "qmgr/spool_file.h"
#include "tests/unit/spool_script.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define SECTOR 512

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
    defer(1); /* it waits a second; what the report tells is newer */
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
    if (!media_dead()) /* the script's end */
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

static void before_the_flush_no_250_after_it_the_message_is_there(void **state)
{
    (void)state;
    unsigned calls = script_calls(), cuts = 0;
    const struct media script = media;
    assert_true(calls > 400);
    for (size_t type = SPOOL_MSG; type <= SPOOL_TOLD; type++)
        assert_true(script.records[type] >= 5);
    assert_true(script.in_files >= 5);
    for (unsigned at = 1; at <= calls; at += 1 + at % stride(), cuts++) {
        struct damage d = cut_at(at, false);
        if (d.lost || d.wrong || d.half)
            fail_msg("power cut at call %u of %u: %u messages lost, %u wrong, %u reports without their settlement", at, calls, d.lost,
                     d.wrong, d.half);
    }
    print_message(
        "    %u calls, with %u messages, %u settlements, %u removals, %u moves and %u settlements of reports in the log, %u settlements in "
        "files; %u cuts, 2 recoveries each; none lost\n",
        calls, script.records[SPOOL_MSG], script.records[SPOOL_SETTLE], script.records[SPOOL_REMOVE], script.records[SPOOL_MOVED],
        script.records[SPOOL_TOLD], script.in_files, cuts);
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
    for (unsigned at = 1; at <= calls; at += 1 + at % (2 * stride() - 1)) {
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
