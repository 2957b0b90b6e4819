#include "creds/courier.h"
#include "creds/courier_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* In place of the real one: takes as many orders as the test wants, answers none, and ends. */
static int orders;

void courier_run(int fd, const char *authorities, const struct sandbox *box, bool unprivileged)
{
    static struct courier_order order;
    (void)authorities, (void)box, (void)unprivileged;
    bool good = send(fd, "", 1, MSG_NOSIGNAL) == 1;
    while (good && orders-- > 0)
        good = recv(fd, &order, sizeof order, 0) > 0 && strcmp(order.url, "https://a.example/") == 0;
    _exit(good ? 0 : 1);
}

static void begin(int how_many)
{
    static char none[1];
    struct settings settings = {.tls_authorities = none};
    struct error error;
    orders = how_many;
    assert_int_equal(courier_start(&settings, NULL, true, &error), 0);
}

static void is_gone(void)
{
    int status;
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
}

static void answered(unsigned status, struct span text, void *arg)
{
    (void)status, (void)text, (void)arg;
    fail();
}

static void a_question_that_is_too_long_is_not_sent(void **state)
{
    (void)state;
    static char url[COURIER_URL + 1], resolve[COURIER_RESOLVE + 1], body[COURIER_BODY + 1];
    struct error e;
    memset(url, 'x', COURIER_URL);
    memset(resolve, 'x', COURIER_RESOLVE);
    begin(0);
    is_gone();
    assert_int_equal(courier_send(url, "", SPAN_LITERAL("x"), answered, NULL, &e), -1);
    assert_string_equal(e.text, "what has to be asked is too long");
    assert_int_equal(courier_send("https://a.example/", resolve, SPAN_LITERAL("x"), answered, NULL, &e), -1);
    assert_string_equal(e.text, "what has to be asked is too long");
    assert_int_equal(courier_send("https://a.example/", "", span_make(body, sizeof body), answered, NULL, &e), -1);
    assert_string_equal(e.text, "what has to be asked is too long");
    assert_false(courier_busy());
}

static void a_courier_that_is_gone_is_told_apart(void **state)
{
    (void)state;
    struct error e;
    begin(0);
    is_gone();
    assert_int_equal(courier_send("https://a.example/", "", SPAN_LITERAL("x"), answered, NULL, &e), -1);
    assert_string_equal(e.text, "the process that fetches tokens does not take the question: Broken pipe");
    assert_false(courier_busy());
}

static void one_that_is_there_is_busy(void **state)
{
    (void)state;
    static char body[COURIER_BODY];
    struct error e;
    begin(1);
    assert_int_equal(courier_send("https://a.example/", "", span_make(body, sizeof body), answered, NULL, &e), 0);
    assert_true(courier_busy());
    is_gone();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_that_is_too_long_is_not_sent),
        cmocka_unit_test(a_courier_that_is_gone_is_told_apart),
        cmocka_unit_test(one_that_is_there_is_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
