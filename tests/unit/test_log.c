#include "common/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int reader = -1;

/* A log to a pipe that the test reads. */
static void open_pipe(enum log_level most)
{
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    if (reader >= 0)
        close(reader);
    reader = fds[0];
    log_open("postino-test", fds[1], LOG_TO_STDERR, most);
}

static const char *written(void)
{
    static char text[1 << 17];
    log_flush();
    ssize_t n = read(reader, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void line_has_time_program_and_pid(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_INFO);
    log_info("%s: started", "queue");
    const char *text = written();
    int year, month, day, hour, minute, second, micro, pid, end = 0;
    assert_int_equal(sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ postino-test[%d]: queue: started%n", &year, &month, &day, &hour, &minute,
                            &second, &micro, &pid, &end),
                     8);
    assert_int_equal(pid, getpid());
    assert_string_equal(text + end, "\n");
    assert_int_equal(text[19], '.');
    assert_int_equal(text[26], 'Z');
}

static void a_child_says_its_own_pid(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_INFO);
    log_info("of the parent");
    (void)written();
    pid_t child = fork();
    if (child == 0) {
        log_info("of the child");
        log_flush();
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    char expected[64];
    snprintf(expected, sizeof expected, "postino-test[%d]: of the child\n", (int)child);
    assert_non_null(strstr(written(), expected));
    log_info("of the parent");
    snprintf(expected, sizeof expected, "postino-test[%d]: of the parent\n", (int)getpid());
    assert_non_null(strstr(written(), expected));
}

static void lines_wait_for_the_flush_and_keep_their_order(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_INFO);
    log_info("first");
    log_warning("second");
    char c;
    assert_int_equal(read(reader, &c, 1), -1);
    const char *text = written();
    assert_non_null(strstr(text, "first\n"));
    assert_true(strstr(text, "first\n") < strstr(text, "second\n"));
}

static void less_important_lines_are_left_out(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_WARNING);
    struct buf b = {0};
    buf_add_text(&b, "built");
    log_info("left out");
    log_debug("left out");
    log_buf(LOG_LEVEL_INFO, &b);
    assert_false(log_wanted(LOG_LEVEL_INFO));
    assert_true(log_wanted(LOG_LEVEL_WARNING));
    log_warning("yes");
    log_buf(LOG_LEVEL_ERROR, &b);
    const char *text = written();
    assert_null(strstr(text, "left out"));
    assert_non_null(strstr(text, ": yes\n"));
    assert_non_null(strstr(text, ": built\n"));
    buf_free(&b);
}

static void check_value(struct span value, const char *want)
{
    struct buf b = {0};
    log_value(&b, "k", value);
    assert_string_equal(buf_text(&b), want);
    buf_free(&b);
}

static void values_are_escaped(void **state)
{
    (void)state;
    check_value(SPAN_LITERAL("plain@example.org"), "k=plain@example.org");
    check_value(SPAN_LITERAL(""), "k=\"\"");
    check_value(SPAN_LITERAL("two words"), "k=\"two words\"");
    check_value(SPAN_LITERAL("a=b"), "k=\"a=b\"");
    check_value(SPAN_LITERAL("say \"hi\""), "k=\"say \\\"hi\\\"\"");
    check_value(SPAN_LITERAL("x\" admin=yes k=\""), "k=\"x\\\" admin=yes k=\\\"\"");
    check_value(SPAN_LITERAL("a\r\nfake line"), "k=\"a\\x0D\\x0Afake line\"");
    check_value(SPAN_LITERAL("\x1b[2J\x7f\0z"), "k=\\x1B[2J\\x7F\\x00z");
    check_value(SPAN_LITERAL("f\xc3\xbcr"), "k=f\\xC3\\xBCr");
    check_value(SPAN_LITERAL("back\\slash"), "k=back\\\\slash");
}

static void values_stand_one_blank_apart(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_text(&b, "ID: ");
    log_value(&b, "a", SPAN_LITERAL("1"));
    log_value(&b, "b", SPAN_LITERAL("2"));
    assert_string_equal(buf_text(&b), "ID: a=1 b=2");
    buf_free(&b);
}

static void long_values_are_cut(void **state)
{
    (void)state;
    char bytes[600];
    memset(bytes, 'a', sizeof bytes);
    struct buf b = {0};
    log_value(&b, "k", span_make(bytes, sizeof bytes));
    assert_int_equal(b.len, 2 + 512);
    buf_free(&b);
}

/* Also where somebody forgot log_value(). */
static void entry_is_always_one_line(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_INFO);
    log_info("one\ntwo\r\x1b");
    const char *text = written();
    assert_non_null(strstr(text, ": one?two??\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void full_pipe_keeps_lines_for_later(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_INFO);
    size_t lines = 0;
    for (int i = 0; i < 2000; i++)
        log_info("%0100d", i);
    for (const char *text; *(text = written()) != '\0';)
        for (; *text != '\0'; text++)
            lines += *text == '\n';
    assert_int_equal(lines, 2000);
}

static void reader_that_never_reads_costs_bounded_memory_and_is_told(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_INFO);
    for (int i = 0; i < 20000; i++)
        log_info("%0100d", i);
    bool told = false;
    for (const char *text; *(text = written()) != '\0';)
        told = told || strstr(text, "lines-lost=") != NULL;
    assert_true(told);
}

static void syslog_gets_a_datagram_a_line(void **state)
{
    (void)state;
    int fds[2];
    char text[300];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    log_open("postino-test", fds[1], LOG_TO_SYSLOG, LOG_LEVEL_INFO);
    log_error("one");
    log_info("two");
    log_flush();
    ssize_t n = recv(fds[0], text, sizeof text - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    char want[100];
    snprintf(want, sizeof want, "<19>postino-test[%d]: one", (int)getpid());
    assert_string_equal(text, want);
    n = recv(fds[0], text, sizeof text - 1, 0);
    assert_true(n > 0);
    assert_memory_equal(text, "<22>", 4);
    assert_int_equal(recv(fds[0], text, sizeof text, 0), -1);
    close(fds[0]);
}

static void reopening_closes_the_former_descriptor(void **state)
{
    (void)state;
    int first = open("/dev/null", O_WRONLY | O_CLOEXEC), second = open("/dev/null", O_WRONLY | O_CLOEXEC);
    log_open("postino-test", first, LOG_TO_FILE, LOG_LEVEL_INFO);
    assert_int_equal(log_descriptor(), first);
    log_open("postino-test", second, LOG_TO_FILE, LOG_LEVEL_INFO);
    assert_int_equal(fcntl(first, F_GETFD), -1);
    assert_int_equal(log_descriptor(), second);
    log_open("postino-test", STDERR_FILENO, LOG_TO_STDERR, LOG_LEVEL_INFO);
    assert_int_equal(fcntl(second, F_GETFD), -1);
}

static void die_writes_and_aborts(void **state)
{
    (void)state;
    open_pipe(LOG_LEVEL_ERROR);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        log_die("queue: %d is not a state", 7);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(written(), ": queue: 7 is not a state\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_has_time_program_and_pid),
        cmocka_unit_test(a_child_says_its_own_pid),
        cmocka_unit_test(lines_wait_for_the_flush_and_keep_their_order),
        cmocka_unit_test(less_important_lines_are_left_out),
        cmocka_unit_test(values_are_escaped),
        cmocka_unit_test(values_stand_one_blank_apart),
        cmocka_unit_test(long_values_are_cut),
        cmocka_unit_test(entry_is_always_one_line),
        cmocka_unit_test(full_pipe_keeps_lines_for_later),
        cmocka_unit_test(reader_that_never_reads_costs_bounded_memory_and_is_told),
        cmocka_unit_test(syslog_gets_a_datagram_a_line),
        cmocka_unit_test(reopening_closes_the_former_descriptor),
        cmocka_unit_test(die_writes_and_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
