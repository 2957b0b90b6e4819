#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int directory;
static char path[] = "/tmp/postino-test-file-XXXXXX";

static int begin(void **state)
{
    (void)state;
    directory = mkdtemp(path) ? open(path, O_RDONLY | O_DIRECTORY) : -1;
    return directory < 0;
}

static int end(void **state)
{
    (void)state;
    unlinkat(directory, "name", 0);
    close(directory);
    return rmdir(path);
}

static void has(const char *text, size_t limit, bool all)
{
    struct buf out = BUF_EMPTY(limit);
    int fd = openat(directory, "name", O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(file_read(fd, &out), all);
    if (all)
        assert_true(span_equal(buf_span(&out), span_of(text)));
    close(fd);
    buf_free(&out);
}

static void a_file_is_replaced_as_a_whole(void **state)
{
    (void)state;
    assert_int_equal(file_replace(directory, "name", "new", SPAN_LITERAL("a long first text")), 0);
    has("a long first text", 17, true);
    has("a long first text", 16, false);
    assert_int_equal(file_replace(directory, "name", "new", SPAN_LITERAL("second")), 0);
    has("second", 100, true);
    assert_int_equal(faccessat(directory, "new", F_OK, 0), -1);
}

static void or_is_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(file_replace(directory, "name", "new", SPAN_LITERAL("former")), 0);
    assert_int_equal(mkdirat(directory, "new", 0700), 0);
    assert_int_equal(file_replace(directory, "name", "new", SPAN_LITERAL("other")), -1);
    assert_int_equal(errno, EISDIR);
    has("former", 100, true);
    assert_int_equal(unlinkat(directory, "new", AT_REMOVEDIR), 0);
}

/* What could not be written to its end is neither the file nor beside it. */
static void a_part_of_a_file_does_not_stay(void **state)
{
    (void)state;
    static char text[5000];
    struct rlimit before, little;
    assert_int_equal(file_replace(directory, "name", "new", SPAN_LITERAL("former")), 0);
    getrlimit(RLIMIT_FSIZE, &before);
    little = (struct rlimit){4096, before.rlim_max};
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &little);
    int result = file_replace(directory, "name", "new", span_make(text, sizeof text)), cause = errno;
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    assert_int_equal(result, -1);
    assert_int_equal(cause, EFBIG);
    assert_int_equal(faccessat(directory, "new", F_OK, 0), -1);
    has("former", 100, true);
}

static void reads(const char *name, bool good)
{
    struct buf out = BUF_EMPTY(100);
    assert_int_equal(file_read_at(directory, name, &out), good);
    assert_true(!good || span_equal(buf_span(&out), SPAN_LITERAL("text")));
    buf_free(&out);
}

/* A pipe that nobody writes to would be waited for. */
static void what_somebody_else_put_there_is_not_followed(void **state)
{
    (void)state;
    assert_int_equal(file_replace(directory, "name", "new", SPAN_LITERAL("text")), 0);
    reads("name", true);
    reads("other", false);
    assert_int_equal(symlinkat("name", directory, "other"), 0);
    reads("other", false);
    assert_int_equal(unlinkat(directory, "other", 0), 0);
    assert_int_equal(mkdirat(directory, "other", 0700), 0);
    reads("other", false);
    assert_int_equal(unlinkat(directory, "other", AT_REMOVEDIR), 0);
    struct buf out = BUF_EMPTY(100);
    assert_int_equal(mkfifoat(directory, "other", 0600), 0);
    file_read_at(directory, "other", &out);
    assert_int_equal(out.len, 0);
    buf_free(&out);
    assert_int_equal(unlinkat(directory, "other", 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_file_is_replaced_as_a_whole), cmocka_unit_test(or_is_as_it_was),
                                       cmocka_unit_test(a_part_of_a_file_does_not_stay),
                                       cmocka_unit_test(what_somebody_else_put_there_is_not_followed)};
    return cmocka_run_group_tests(tests, begin, end);
}
