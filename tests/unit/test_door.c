/* What route answers at the door, and what it believes of an smtpd: its own sessions, as many as it may have. */
#include "resolver/door.h"

#include "tests/unit/fake_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct settings *settings;
static struct door *door;
static struct doorway *way;
static struct message answer;
static struct buf text;

static int set_up(void **state)
{
    (void)state;
    settings = settings_new();
    free(settings->hostname);
    settings->hostname = strdup("mx.example");
    settings->client_sessions = 3;
    settings->client_connections = 8;
    settings->client_messages = 2;
    settings->client_recipients = 4;
    settings->client_errors = 10;
    settings->client_tls = 2;
    settings->client_auth = 1;
    settings->smtpd_greet_passed = 3600;
    door = door_new(settings);
    way = doorway_new(door);
    text = BUF_EMPTY(1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    doorway_free(way);
    door_free(door);
    settings_free(settings);
    buf_free(&text);
    return 0;
}

/* The code of the answer; 0: welcome. */
static unsigned admit(struct doorway *w, uint64_t session, const char *address, bool tls)
{
    struct message m = {.type = MESSAGE_ADMIT, .id = 5, .admit = {.session = session, .address = span_of(address), .tls = tls}};
    buf_clear(&text);
    doorway_admit(w, &m, &answer, &text);
    assert_int_equal(answer.type, MESSAGE_ADMITTED);
    assert_int_equal(answer.id, 5);
    return answer.admitted.code;
}

static unsigned count(unsigned what, const char *address)
{
    struct message m = {.type = MESSAGE_COUNT, .count = {.address = span_of(address), .what = (uint16_t)what}};
    buf_clear(&text);
    doorway_count(way, &m, &answer, &text);
    return answer.counted.code;
}

static void notice(struct doorway *w, enum message_type type, uint64_t session, const char *address, uint32_t errors)
{
    struct message m = {.type = type};
    if (type == MESSAGE_GUEST)
        m.guest = (struct message_guest){.session = session, .address = span_of(address)};
    else if (type == MESSAGE_PASSED)
        m.passed.session = session;
    else
        m.left = (struct message_left){.session = session, .errors = errors};
    doorway_notice(w, &m);
}

static void leave(struct doorway *w, uint64_t session)
{
    notice(w, MESSAGE_LEFT, session, "", 0);
}

static bool is(struct span s, const char *words)
{
    return span_equal(s, span_of(words));
}

static void sessions_are_counted_and_leave(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(admit(way, i, "192.0.2.1", false), 0);
    assert_int_equal(admit(way, 4, "192.0.2.1", false), 421);
    assert_true(is(answer.admitted.status, "4.7.0"));
    assert_true(is(answer.admitted.reply, "mx.example Error: too many connections from 192.0.2.1"));
    assert_true(is(answer.admitted.rule, "client { sessions }: 3 of 3 by 192.0.2.1"));
    leave(way, 4); /* which there is not */
    assert_int_equal(admit(way, 5, "192.0.2.1", false), 421);
    leave(way, 2);
    leave(way, 2);
    assert_int_equal(admit(way, 6, "192.0.2.1", false), 0);
    assert_int_equal(admit(way, 7, "192.0.2.1", false), 421);
}

static void a_question_that_is_asked_again_is_counted_once(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++)
        assert_int_equal(admit(way, 1, "192.0.2.1", false), 0);
    assert_int_equal(admit(way, 2, "192.0.2.1", false), 0);
}

static void a_dead_smtpd_leaves_with_all_its_sessions(void **state)
{
    (void)state;
    struct doorway *other = doorway_new(door);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(admit(other, i, "192.0.2.1", false), 0);
    assert_int_equal(admit(way, 1, "192.0.2.1", false), 421);
    leave(way, 1); /* another's sessions are not its to end */
    assert_int_equal(admit(way, 2, "192.0.2.1", false), 421);
    doorway_free(other);
    assert_int_equal(admit(way, 3, "192.0.2.1", false), 0);
}

static void sessions_are_told_again(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 5; i++) /* more than there may be now: they are there */
        notice(way, MESSAGE_GUEST, i, "192.0.2.1", 0);
    notice(way, MESSAGE_GUEST, 5, "192.0.2.1", 0);
    assert_int_equal(admit(way, 9, "192.0.2.1", false), 421);
    assert_true(is(answer.admitted.rule, "client { sessions }: 5 of 3 by 192.0.2.1"));
    for (uint64_t i = 1; i <= 3; i++)
        leave(way, i);
    assert_int_equal(admit(way, 9, "192.0.2.1", false), 0);
}

static void a_network_is_named(void **state)
{
    (void)state;
    char address[32];
    for (unsigned i = 1; i <= 30; i++) {
        snprintf(address, sizeof address, "192.0.2.%u", i);
        assert_int_equal(admit(way, i, address, false), 0);
    }
    assert_int_equal(admit(way, 31, "192.0.2.99", false), 421);
    assert_true(is(answer.admitted.reply, "mx.example Error: too many connections from 192.0.2.99"));
    assert_true(is(answer.admitted.rule, "client { sessions }: 30 of 30 by 192.0.2.0/24"));
}

static void connections_a_minute(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 8; i++) {
        assert_int_equal(admit(way, i, "192.0.2.1", false), 0);
        leave(way, i);
    }
    assert_int_equal(admit(way, 9, "192.0.2.1", false), 421);
    assert_true(is(answer.admitted.rule, "client { connections }: 8 of 8 by 192.0.2.1"));
    clock_pass(8);
    assert_int_equal(admit(way, 10, "192.0.2.1", false), 0);
}

static void errors_are_brought_home(void **state)
{
    (void)state;
    assert_int_equal(admit(way, 1, "192.0.2.1", false), 0);
    notice(way, MESSAGE_LEFT, 1, "", 9);
    assert_int_equal(admit(way, 2, "192.0.2.1", false), 0);
    notice(way, MESSAGE_LEFT, 2, "", 4000000000);
    assert_int_equal(admit(way, 3, "192.0.2.1", false), 421);
    assert_true(is(answer.admitted.reply, "mx.example Error: too many errors from 192.0.2.1"));
    clock_pass(61);
    assert_int_equal(admit(way, 4, "192.0.2.1", false), 0);
}

static void tls_at_once_counts_as_a_handshake(void **state)
{
    (void)state;
    assert_int_equal(admit(way, 1, "192.0.2.1", true), 0);
    assert_int_equal(count(COUNT_TLS, "192.0.2.1"), 0);
    assert_int_equal(admit(way, 2, "192.0.2.1", true), 421);
    assert_true(is(answer.admitted.rule, "client { tls }: 2 of 2 by 192.0.2.1"));
    assert_int_equal(admit(way, 3, "192.0.2.1", false), 0);
    assert_int_equal(count(COUNT_TLS, "192.0.2.1"), 421);
    assert_true(is(answer.counted.reply, "mx.example Error: too many new TLS sessions from 192.0.2.1"));
}

static void messages_recipients_and_auth(void **state)
{
    (void)state;
    assert_int_equal(count(COUNT_MESSAGE, "192.0.2.1"), 0);
    assert_int_equal(count(COUNT_MESSAGE, "192.0.2.1"), 0);
    assert_int_equal(count(COUNT_MESSAGE, "192.0.2.1"), 450);
    assert_true(is(answer.counted.status, "4.7.1"));
    assert_true(is(answer.counted.reply, "Error: too much mail from 192.0.2.1"));
    assert_int_equal(count(COUNT_AUTH, "192.0.2.1"), 0);
    assert_int_equal(count(COUNT_AUTH, "192.0.2.1"), 450);
    assert_true(is(answer.counted.reply, "Error: too many AUTH commands from 192.0.2.1"));
    struct message m = {.type = MESSAGE_RCPT, .rcpt = {.client = span_of("192.0.2.1"), .count = 1}};
    for (int i = 0; i < 4; i++)
        assert_true(doorway_rcpt(way, &m, &answer, &text));
    buf_clear(&text);
    assert_false(doorway_rcpt(way, &m, &answer, &text));
    assert_int_equal(answer.routed.code, 450);
    assert_true(is(answer.routed.reply, "Error: too many recipients from 192.0.2.1"));
    assert_true(is(answer.routed.rule, "client { recipients }: 4 of 4 by 192.0.2.1"));
    m.rcpt.count = 0;
    assert_true(doorway_rcpt(way, &m, &answer, &text));
}

static void what_smtpd_can_t_mean_is_nothing(void **state)
{
    (void)state;
    for (unsigned what = 0; what < 70000; what += 7)
        if ((uint16_t)what < COUNT_MESSAGE || (uint16_t)what > COUNT_AUTH)
            assert_int_equal(count(what, "192.0.2.1"), 0);
    char far[200];
    memset(far, 'x', sizeof far - 1);
    far[sizeof far - 1] = '\0';
    for (uint64_t i = 1; i < 100; i++)
        assert_int_equal(admit(way, i, far, true), 0);
    notice(way, MESSAGE_PASSED, 77, "", 0);
    leave(way, 77);
}

/* An smtpd that was taken over says what it likes; there are no more sessions of its than it may have. */
static void an_smtpd_fills_its_own_doorway_at_most(void **state)
{
    (void)state;
    char address[64];
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(address, sizeof address, "10.%u.%u.1", i >> 8, i & 255);
        notice(way, MESSAGE_GUEST, i, address, 0);
    }
    struct doorway *other = doorway_new(door);
    for (uint64_t i = 1; i <= 3; i++) {
        assert_int_equal(admit(other, i, "10.10.10.1", false), 0); /* of the 5,000 the first 1,000 were counted */
        assert_int_equal(admit(other, 10 + i, "192.0.2.1", false), 0);
    }
    doorway_free(other);
}

static void who_waited_is_known_to_all(void **state)
{
    (void)state;
    struct doorway *other = doorway_new(door);
    admit(way, 1, "192.0.2.1", false);
    assert_int_equal(answer.admitted.passed, 0);
    notice(other, MESSAGE_PASSED, 1, "", 0); /* not its session */
    admit(way, 2, "192.0.2.1", false);
    assert_int_equal(answer.admitted.passed, 0);
    notice(way, MESSAGE_PASSED, 1, "", 0);
    admit(other, 1, "192.0.2.1", false);
    assert_int_equal(answer.admitted.passed, 1);
    admit(other, 2, "192.0.2.2", false);
    assert_int_equal(answer.admitted.passed, 0);
    clock_pass(3601);
    admit(other, 3, "192.0.2.1", false);
    assert_int_equal(answer.admitted.passed, 0);
    doorway_free(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sessions_are_counted_and_leave),
        TEST(a_question_that_is_asked_again_is_counted_once),
        TEST(a_dead_smtpd_leaves_with_all_its_sessions),
        TEST(sessions_are_told_again),
        TEST(a_network_is_named),
        TEST(connections_a_minute),
        TEST(errors_are_brought_home),
        TEST(tls_at_once_counts_as_a_handshake),
        TEST(messages_recipients_and_auth),
        TEST(what_smtpd_can_t_mean_is_nothing),
        TEST(an_smtpd_fills_its_own_doorway_at_most),
        TEST(who_waited_is_known_to_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
