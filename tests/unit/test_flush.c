/* Files flushed together, and one after the other where the kernel can't or won't; one that fails fails alone. */
#include "delivery/flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- a kernel that can less ------------------------------------------------------------------------------------------------------- */

static enum { CAN, NO_SETUP, TAKES_THREE, TAKES_NONE, LOSES_ANSWERS } kernel;
static int submitted, one_by_one;

long __real_syscall(long, ...);
long __wrap_syscall(long, ...);
int __real_fdatasync(int);
int __wrap_fdatasync(int);

long __wrap_syscall(long number, ...)
{
    long a[5];
    va_list ap;
    va_start(ap, number);
    for (int i = 0; i < 5; i++)
        a[i] = va_arg(ap, long);
    va_end(ap);
    bool submit = number == SYS_io_submit;
    errno = EAGAIN;
    if ((kernel == NO_SETUP && number == SYS_io_setup) || (kernel == TAKES_NONE && submit) ||
        (kernel == LOSES_ANSWERS && number == SYS_io_getevents))
        return -1;
    if (kernel == TAKES_THREE && submit)
        a[1] = 3;
    long result = __real_syscall(number, a[0], a[1], a[2], a[3], a[4]);
    if (submit && result > 0)
        submitted += (int)result;
    return result;
}

int __wrap_fdatasync(int fd)
{
    one_by_one++;
    return __real_fdatasync(fd);
}

/* ---- tests ------------------------------------------------------------------------------------------------------------------------ */

enum { FILES = 6 };

static FILE *files[FILES];
static int fds[FILES], errors[FILES];

static int setup(void **state)
{
    (void)state;
    submitted = one_by_one = 0;
    for (int i = 0; i < FILES; i++) {
        files[i] = tmpfile();
        if (!files[i] || fputs("x", files[i]) < 0 || fflush(files[i]) != 0)
            return -1;
        fds[i] = fileno(files[i]);
        errors[i] = -1;
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < FILES; i++)
        (void)fclose(files[i]);
    return 0;
}

static void expect_all(int together, int alone)
{
    flush_files(fds, errors, FILES);
    for (int i = 0; i < FILES; i++)
        assert_int_equal(errors[i], 0);
    assert_int_equal(submitted, together);
    assert_int_equal(one_by_one, alone);
}

static void without_setup_one_by_one(void **state)
{
    (void)state;
    kernel = NO_SETUP;
    expect_all(0, FILES);
}

static void one_alone_needs_nothing(void **state)
{
    (void)state;
    flush_files(fds, errors, 1);
    assert_int_equal(errors[0], 0);
    assert_int_equal(one_by_one, 1);
    assert_int_equal(errors[1], -1);
    flush_files(fds, errors, 0);
}

static void what_the_kernel_does_not_take_or_tell_is_flushed_all_the_same(void **state)
{
    (void)state;
    kernel = TAKES_THREE;
    expect_all(3, FILES - 3);
    submitted = one_by_one = 0;
    kernel = TAKES_NONE;
    expect_all(0, FILES);
    submitted = one_by_one = 0;
    kernel = LOSES_ANSWERS; /* and is not asked again: late answers would be taken for others' */
    expect_all(FILES, FILES);
    submitted = one_by_one = 0;
    kernel = CAN;
    expect_all(0, FILES);
}

static void all_together(void **state)
{
    (void)state;
    kernel = CAN;
    expect_all(FILES, 0);
}

static void one_that_can_not_be_flushed_fails_alone(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    int kept = fds[2];
    for (int round = 0; round < 2; round++) {
        kernel = round ? TAKES_NONE : CAN;
        fds[2] = ends[1];
        flush_files(fds, errors, FILES);
        fds[2] = kept;
        for (int i = 0; i < FILES; i++)
            assert_int_equal(errors[i], i == 2 ? EINVAL : 0);
    }
    close(ends[0]);
    close(ends[1]);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest none[] = {T(without_setup_one_by_one), T(one_alone_needs_nothing)};
    const struct CMUnitTest tests[] = {T(all_together), T(one_that_can_not_be_flushed_fails_alone),
                                       T(what_the_kernel_does_not_take_or_tell_is_flushed_all_the_same)};
    int status = 0;
    pid_t pid = fork(); /* what was tried once is not tried again: a process for each */
    if (pid == 0)
        _exit(cmocka_run_group_tests(none, NULL, NULL));
    (void)waitpid(pid, &status, 0);
    return cmocka_run_group_tests(tests, NULL, NULL) + (status != 0);
}
