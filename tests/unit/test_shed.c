/* A process of smtpd at its limits: who goes so that another gets in, who stays, how long it waits for its clients, and what it holds in memory at most. */
#include "tests/unit/fake_clock.h"
#include "tests/unit/session_world.h"

#include "common/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS 64
#define TURNS   40

static struct world w;

struct client {
    int fd;
    char heard[4096];
    size_t len;
    bool ended;
};
static struct client clients[CLIENTS];
static unsigned count;

/* ---- clients --------------------------------------------------------------------------------------------------------------------- */

static void turns(int n)
{
    for (int i = 0; i < n; i++)
        world_turn(&w);
}

static void listen_to(struct client *c)
{
    char piece[4096];
    ssize_t n;
    while ((n = read(c->fd, piece, sizeof piece)) > 0) {
        size_t room = sizeof c->heard - 1 - c->len, take = (size_t)n < room ? (size_t)n : room;
        memcpy(c->heard + c->len, piece, take);
        c->len += take;
    }
    c->ended |= n == 0;
    c->heard[c->len] = '\0';
}

static struct client *come(const char *address)
{
    int fd[2];
    struct sockaddr_storage from;
    socklen_t len;
    struct client *c = &clients[count++];
    assert_true(count <= CLIENTS);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    assert_true(address_to_socket(span_of(address), 1000, &from, &len));
    *c = (struct client){.fd = fd[1]};
    session_accept(&w.server, &w.listener, fd[0], (struct sockaddr *)&from);
    turns(TURNS);
    return c;
}

static void say(struct client *c, const char *text)
{
    size_t n = strlen(text);
    assert_int_equal(write(c->fd, text, n), n);
    turns(TURNS);
}

static void hears(struct client *c, const char *text)
{
    listen_to(c);
    if (!strstr(c->heard, text))
        fail_msg("heard instead of %s: %s", text, c->heard);
    c->len = 0;
}

static void is_there(struct client *c)
{
    listen_to(c);
    if (c->ended)
        fail_msg("it is gone; it heard last: %s", c->heard);
}

static void is_gone(struct client *c, const char *text)
{
    hears(c, text);
    assert_true(c->ended);
}

#define SHED_REPLY "421 4.3.2 mx.example has too many clients now"
#define FULL_REPLY "421 4.7.0 mx.example too many sessions, try again later"

static struct strings networks; /* the settings' own, given back to be freed */

static int begin(void **state)
{
    (void)state;
    world_open(&w);
    w.settings->limit_sessions = 4;
    networks = w.settings->relay_from;
    w.settings->relay_from = (struct strings){0};
    count = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    while (count)
        close(clients[--count].fd);
    assert_true(w.server.shed.memory < (1u << 30)); /* it never went below nothing */
    w.settings->relay_from = networks;
    world_close(&w);
    return 0;
}

/* Four clients of different networks, a second apart. */
static void fill(struct client *four[4])
{
    static const char *const addresses[] = {"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8:1::1"};
    for (int i = 0; i < 4; i++) {
        four[i] = come(addresses[i]);
        hears(four[i], "220 ");
        clock_pass(1);
    }
}

/* ---- who is let in first -------------------------------------------------------------------------------------------------------- */

static void the_fuller_a_process_the_later_it_takes_a_client(void **state)
{
    (void)state;
    struct client *c[4];
    assert_int_equal(shed_gives_way(&w.server), 0);
    come("192.0.2.1");
    come("198.51.100.1");
    assert_int_equal(shed_gives_way(&w.server), 0); /* half of four */
    come("203.0.113.1");
    assert_int_equal(shed_gives_way(&w.server), 5);
    c[3] = come("2001:db8:1::1");
    assert_int_equal(shed_gives_way(&w.server), 10);
    say(c[3], "QUIT\r\n");
    assert_int_equal(shed_gives_way(&w.server), 5);
}

static void memory_in_use_makes_it_late_too(void **state)
{
    (void)state;
    come("192.0.2.1");
    uint64_t limit = w.settings->limit_session_memory;
    w.settings->limit_session_memory = w.server.shed.memory * 2;
    assert_int_equal(shed_gives_way(&w.server), 0);
    w.settings->limit_session_memory = w.server.shed.memory;
    assert_int_equal(shed_gives_way(&w.server), 10);
    w.settings->limit_session_memory = limit;
}

/* ---- who goes -------------------------------------------------------------------------------------------------------------------- */

static void who_has_waited_longest_goes(void **state)
{
    (void)state;
    struct client *c[4];
    fill(c);
    say(c[0], "EHLO x\r\n"); /* now the second has waited longest */
    clock_pass(2);
    hears(come("198.18.1.1"), "220 ");
    is_gone(c[1], SHED_REPLY);
    is_there(c[0]);
    is_there(c[2]);
    is_there(c[3]);
    hears(come("198.18.2.1"), "220 ");
    is_gone(c[2], SHED_REPLY);
    assert_int_equal(w.server.session_count, 4);
}

static void an_octet_or_a_reply_of_ours_is_no_word_of_the_client(void **state)
{
    (void)state;
    struct client *c[4];
    fill(c);
    say(c[0], "NO");
    say(c[1], "NOOP\r\n");
    clock_pass(2);
    come("198.18.1.1");
    is_gone(c[0], SHED_REPLY);
    is_there(c[1]);
}

static void who_has_just_come_stays_and_the_new_one_goes(void **state)
{
    (void)state;
    struct client *c[4];
    fill(c);
    for (int i = 0; i < 4; i++)
        say(c[i], "NOOP\r\n");
    clock_pass(0.5);
    is_gone(come("198.18.1.1"), FULL_REPLY);
    for (int i = 0; i < 4; i++)
        is_there(c[i]);
    clock_pass(0.6);
    hears(come("198.18.1.1"), "220 ");
}

static void who_never_said_a_word_goes_sooner(void **state)
{
    (void)state;
    struct client *c[4];
    fill(c);
    for (int i = 0; i < 3; i++)
        say(c[i], "NOOP\r\n");
    clock_pass(0.5); /* the fourth has waited for a second and a half, the others for half of one */
    hears(come("198.18.1.1"), "220 ");
    is_gone(c[3], SHED_REPLY);
    is_gone(come("198.18.2.1"), FULL_REPLY);
    clock_pass(0.3); /* the newest is the only silent one now */
    hears(come("198.18.3.1"), "220 ");
    is_gone(&clients[4], SHED_REPLY);
    for (int i = 0; i < 3; i++)
        is_there(c[i]);
}

static void nobody_goes_in_the_middle_of_a_message(void **state)
{
    (void)state;
    struct client *c[4];
    w.settings->smtpd_stress_timeout = 300;
    fill(c);
    for (int i = 0; i < 4; i++)
        say(c[i], "EHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n");
    say(c[3], "DATA\r\n");
    clock_pass(100);
    is_gone(come("198.18.1.1"), FULL_REPLY);
    for (int i = 0; i < 4; i++)
        is_there(c[i]);
    say(c[3], "x\r\n.\r\n");
    hears(c[3], "250 2.0.0 Ok: queued");
    say(c[0], "RSET\r\n");
    clock_pass(2);
    hears(come("198.18.1.1"), "220 ");
    is_gone(c[3], SHED_REPLY);
    is_there(c[0]);
}

/* Those of relay_from stand for logins as well: one line for both. */
static void the_known_go_last(void **state)
{
    (void)state;
    struct client *c[3], *known;
    w.settings->smtpd_stress_timeout = 300;
    free(w.server.relay_from);
    w.server.relay_from = calloc(1, sizeof *w.server.relay_from);
    w.server.relay_from_count = network_parse(span_of("10.0.0.0/8"), w.server.relay_from);
    known = come("10.0.0.1");
    clock_pass(20);
    c[0] = come("192.0.2.1");
    c[1] = come("198.51.100.1");
    c[2] = come("203.0.113.1");
    clock_pass(2);
    hears(come("198.18.1.1"), "220 ");
    is_there(known);
    is_gone(c[0], SHED_REPLY);
    say(c[1], "EHLO x\r\nMAIL FROM:<>\r\n");
    say(c[2], "EHLO x\r\nMAIL FROM:<>\r\n");
    say(&clients[count - 1], "EHLO x\r\nMAIL FROM:<>\r\n");
    is_gone(come("198.18.2.1"), FULL_REPLY);
    clock_pass(10);
    hears(come("198.18.3.1"), "220 ");
    is_gone(known, SHED_REPLY);
}

static void who_is_refused_for_its_own_sessions_pushes_nobody_out(void **state)
{
    (void)state;
    struct client *c[4];
    w.settings->limit_sessions_client = 1;
    fill(c);
    clock_pass(2);
    is_gone(come("192.0.2.1"), "too many sessions from your address");
    for (int i = 0; i < 4; i++)
        is_there(c[i]);
}

static void a_network_with_its_share_gets_no_place_of_others(void **state)
{
    (void)state;
    struct client *mine, *flood[32], *more;
    w.settings->limit_sessions = 32; /* so that three are its share */
    w.settings->smtpd_stress_timeout = 300;
    mine = come("198.51.100.1");
    for (int i = 0; i < 31; i++) {
        char address[32];
        snprintf(address, sizeof address, "203.0.113.%d", i + 1);
        flood[i] = come(address);
    }
    hears(flood[30], "220 "); /* as long as there is room it may have it */
    clock_pass(5);
    is_gone(come("203.0.113.200"), FULL_REPLY);
    is_there(mine);
    say(mine, "NOOP\r\n");
    more = come("192.0.2.1");
    hears(more, "220 ");
    is_gone(flood[0], SHED_REPLY);
    is_gone(come("::ffff:203.0.113.201"), FULL_REPLY);
    hears(come("2001:db8::1"), "220 ");
    is_gone(flood[1], SHED_REPLY);
}

/* ---- time ------------------------------------------------------------------------------------------------------------------------ */

static void waits_are_short_under_stress(void **state)
{
    (void)state;
    struct client *c[4], *first;
    w.settings->limit_sessions = 5; /* five are nine tenths of it, four are not */
    w.settings->smtpd_stress_timeout = 20;
    fill(c);
    say(c[3], "EHLO x\r\nMAIL FROM:<>\r\n");
    clock_pass(25);
    turns(TURNS);
    is_there(c[0]);
    first = come("198.18.1.1");
    clock_pass(19);
    turns(TURNS);
    is_there(c[0]);
    is_there(c[3]);
    clock_pass(1);
    turns(TURNS);
    is_gone(c[0], "421 4.4.2"); /* that had been promised more */
    is_gone(c[3], "421 4.4.2"); /* in a transaction, too */
    is_gone(first, "421 4.4.2");
    clock_pass(11); /* and when it is over they are long again */
    first = come("198.18.2.1");
    clock_pass(290);
    turns(TURNS);
    is_there(first);
}

static void begin_text(struct client *c)
{
    say(c, "EHLO x\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    hears(c, "354 ");
}

static void a_text_in_single_octets_ends_under_stress(void **state)
{
    (void)state;
    struct client *slow = come("192.0.2.1"), *steady = come("198.51.100.1");
    static char block[3001];
    memset(block, 'x', sizeof block - 1);
    for (size_t i = 99; i < sizeof block; i += 100)
        memcpy(&block[i - 1], "\r\n", 2);
    block[sizeof block - 1] = '\0';
    begin_text(slow);
    begin_text(steady);
    come("203.0.113.1");
    come("203.0.113.2");
    for (int i = 0; i < 2; i++) {
        clock_pass(4);
        say(slow, "x");
        say(steady, block);
        is_there(slow);
    }
    clock_pass(4);
    say(steady, block);
    turns(TURNS);
    is_gone(slow, "421 4.4.2");
    clock_pass(4);
    say(steady, block);
    say(steady, "\r\n.\r\n");
    hears(steady, "250 2.0.0 Ok: queued");
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------------- */

static void send_lines(struct client *c, size_t octets)
{
    static const char line[] = "a line of a message that is sent again and again, until there is enough of it\r\n";
    for (size_t n = 0; n < octets; n += sizeof line - 1)
        while (write(c->fd, line, sizeof line - 1) < 0)
            turns(1);
    turns(TURNS);
}

static void texts_have_a_bound(void **state)
{
    (void)state;
    struct client *c[40], *late;
    w.settings->limit_sessions = 1000;
    w.settings->limit_session_memory = 4 << 20;
    for (int i = 0; i < 40; i++) {
        char address[32];
        snprintf(address, sizeof address, "192.0.%d.1", i);
        c[i] = come(address);
        begin_text(c[i]);
    }
    for (int i = 0; i < 40; i++) {
        send_lines(c[i], 200 << 10);
        assert_true(w.server.shed.memory < (8u << 20));
    }
    assert_true(w.server.shed.memory > (3u << 20));
    unsigned stored = 0;
    for (int i = 0; i < 40; i++) {
        say(c[i], ".\r\n");
        listen_to(c[i]);
        bool kept = strstr(c[i]->heard, "250 2.0.0 Ok: queued") != NULL;
        assert_true(kept || strstr(c[i]->heard, "452 4.3.1 not enough memory now") != NULL);
        stored += kept;
    }
    assert_int_equal(w.puts, stored);
    assert_in_range(stored, 8, 32);
    assert_true(w.server.shed.memory < (1u << 20));
    late = come("198.51.100.1");
    hears(late, "220 ");
}

static void new_ones_are_refused_before_memory_runs_out(void **state)
{
    (void)state;
    struct client *big[4], *other = come("203.0.113.1");
    w.settings->limit_sessions = 1000;
    w.qmgr_silent = true; /* what is handed over counts until it is answered for */
    for (int i = 0; i < 4; i++) {
        big[i] = come("192.0.2.1");
        begin_text(big[i]);
        send_lines(big[i], 160 << 10);
        say(big[i], ".\r\n");
    }
    assert_int_equal(w.puts, 4);
    assert_true(w.server.shed.memory > 640 << 10);
    clock_pass(1.5);
    w.settings->limit_session_memory = 700 << 10;
    hears(come("198.51.100.7"), "220 ");
    w.settings->limit_session_memory = 600 << 10;
    is_gone(come("198.51.100.8"), FULL_REPLY);
    is_gone(other, SHED_REPLY); /* who only waited made room as far as it could */
    is_there(big[0]);
}

static void the_count_of_memory_ends_at_nothing(void **state)
{
    (void)state;
    struct client *c[4];
    fill(c);
    begin_text(c[0]);
    send_lines(c[0], 100 << 10);
    say(c[1], "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n");
    assert_true(w.server.shed.memory > 100 << 10);
    for (int i = 0; i < 4; i++)
        shutdown(clients[i].fd, SHUT_RDWR);
    turns(TURNS);
    assert_int_equal(w.server.session_count, 0);
    assert_int_equal(w.server.shed.memory, 0);
    for (int i = 0; i < SHED_NETWORKS; i++)
        assert_int_equal(w.server.shed.networks[i], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_fuller_a_process_the_later_it_takes_a_client),
        TEST(memory_in_use_makes_it_late_too),
        TEST(who_has_waited_longest_goes),
        TEST(an_octet_or_a_reply_of_ours_is_no_word_of_the_client),
        TEST(who_has_just_come_stays_and_the_new_one_goes),
        TEST(who_never_said_a_word_goes_sooner),
        TEST(nobody_goes_in_the_middle_of_a_message),
        TEST(the_known_go_last),
        TEST(who_is_refused_for_its_own_sessions_pushes_nobody_out),
        TEST(a_network_with_its_share_gets_no_place_of_others),
        TEST(waits_are_short_under_stress),
        TEST(a_text_in_single_octets_ends_under_stress),
        TEST(texts_have_a_bound),
        TEST(new_ones_are_refused_before_memory_runs_out),
        TEST(the_count_of_memory_ends_at_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
