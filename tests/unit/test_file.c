#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
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
    unlinkat(directory, "new", AT_REMOVEDIR);
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
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_file_is_replaced_as_a_whole), cmocka_unit_test(or_is_as_it_was)};
    return cmocka_run_group_tests(tests, begin, end);
}
