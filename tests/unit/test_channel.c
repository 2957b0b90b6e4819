/* Channels and peers over real socketpairs: questions, answers, descriptors, a server that dies, a server that sends garbage. */
#include "common/channel.h"
#include "common/log.h"
#include "common/peer.h"
#include "common/spare.h"
#include "tests/unit/fake_clock.h"

#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SPEAKS ((1u << PROTOCOL_ROUTING) | (1u << PROTOCOL_SMTPD_QMGR) | (1u << PROTOCOL_QMGR_DELIVERY))

static struct event_base *base;

/* What one end saw. */
struct seen {
    unsigned messages, closed, nulls, answers, lost;
    uint32_t last_id;
    int last_fd;
    uint64_t last_value;
    struct channel *reply_on;
};

static void turn(unsigned times)
{
    while (times--) {
        channels_flush();
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static void server_message(struct channel *c, const struct message *m, void *arg)
{
    struct seen *s = arg;
    s->messages++;
    s->last_id = m->id;
    s->last_fd = m->fd;
    s->lost += m->fd_lost;
    if (s->reply_on == NULL)
        return;
    if (m->type == MESSAGE_LEASE)
        channel_send(c, &(struct message){.type = MESSAGE_LEASED, .id = m->id, .fd = -1, .leased = {.first = m->lease.count}});
}

static void closed(struct channel *c, void *arg)
{
    struct seen *s = arg;
    s->closed++;
    channel_free(c);
}

static const struct channel_handler server_handler = {.message = server_message, .closed = closed};

static void answer(const struct message *m, void *arg)
{
    struct seen *s = arg;
    if (m == NULL) {
        s->nulls++;
        return;
    }
    s->answers++;
    s->last_value = m->leased.first;
}

static int pair(struct channel **server, struct seen *s)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    *server = channel_new(base, fds[0], "client", SPEAKS, SIDE_SERVER, &server_handler, s);
    s->reply_on = *server;
    return fds[1];
}

static const struct message lease = {.type = MESSAGE_LEASE, .fd = -1, .lease = {.count = 42}};
static const struct message append = {.type = MESSAGE_APPEND, .fd = -1, .append = {.id = 1}};

static void a_question_is_answered(void **state)
{
    (void)state;
    struct seen server = {0}, asker = {0};
    struct channel *c;
    struct peer *p = peer_new(base, "qmgr", SPEAKS);
    peer_connect(p, pair(&c, &server));
    assert_int_not_equal(peer_ask(p, &lease, answer, &asker), 0);
    turn(4);
    assert_int_equal(asker.answers, 1);
    assert_int_equal(asker.last_value, 42);
    assert_int_equal(peer_open(p), 0);
    peer_free(p);
    turn(4);
    assert_int_equal(server.closed, 1);
}

/* Who is told can look into it. */
static void the_log_is_written_before_a_frame(void **state)
{
    (void)state;
    struct seen server = {0};
    struct channel *c;
    char line[200] = "";
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    log_open("test", fds[1], LOG_TO_STDERR, LOG_LEVEL_INFO);
    struct peer *p = peer_new(base, "qmgr", SPEAKS);
    peer_connect(p, pair(&c, &server));
    turn(1);
    log_info("what is asked");
    peer_ask(p, &lease, answer, &(struct seen){0});
    assert_true(read(fds[0], line, sizeof line - 1) < 0);
    channels_flush();
    assert_true(read(fds[0], line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, "what is asked"));
    log_open("test", dup(STDERR_FILENO), LOG_TO_STDERR, LOG_LEVEL_INFO);
    peer_free(p);
    turn(4);
    close(fds[0]);
}

static void thousands_of_questions_each_get_their_own_answer(void **state)
{
    (void)state;
    struct seen server = {0}, *askers = calloc(5000, sizeof(*askers));
    struct channel *c;
    struct peer *p = peer_new(base, "qmgr", SPEAKS);
    peer_connect(p, pair(&c, &server));
    for (unsigned round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 5000; i++) {
            struct message m = lease;
            m.lease.count = i;
            peer_ask(p, &m, answer, &askers[i]);
        }
        turn(200);
        for (uint32_t i = 0; i < 5000; i++) {
            assert_int_equal(askers[i].answers, round + 1);
            assert_int_equal(askers[i].last_value, i);
        }
    }
    peer_free(p);
    turn(4);
    free(askers);
}

static void descriptors_come_with_their_own_frame(void **state)
{
    (void)state;
    struct seen server = {0};
    struct channel *c;
    struct peer *p = peer_new(base, "remote", SPEAKS);
    peer_connect(p, pair(&c, &server));
    for (int i = 0; i < 40; i++) {
        struct message m = {.type = MESSAGE_DELIVER, .fd = i % 3 ? -1 : open("/dev/null", O_RDONLY)};
        peer_ask(p, &m, answer, &server);
        turn((unsigned)i % 2);
    }
    turn(4);
    assert_int_equal(server.messages, 40);
    assert_true(server.last_fd >= 0); /* 39 is a multiple of 3 */
    struct stat st;
    assert_int_equal(fstat(server.last_fd, &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    peer_free(p);
    turn(4);
}

/* The soft limit, so that it can be raised again. */
static void limit_descriptors(rlim_t most)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void a_descriptor_without_room_is_lost_and_the_channel_lives_if_its_owner_looks(void **state)
{
    (void)state;
    static const struct channel_handler takes_loss = {.message = server_message, .closed = closed, .takes_loss = true};
    for (int takes = 0; takes < 2; takes++) {
        struct seen server = {0};
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
        channel_new(base, fds[0], "client", SPEAKS, SIDE_SERVER, takes ? &takes_loss : &server_handler, &server);
        struct peer *p = peer_new(base, "remote", SPEAKS);
        peer_connect(p, fds[1]);
        for (int i = 0; i < 6; i++) {
            struct message m = {.type = MESSAGE_DELIVER, .fd = i % 2 ? -1 : open("/dev/null", O_RDONLY)};
            struct rlimit before;
            assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
            peer_ask(p, &m, answer, &server);
            limit_descriptors(i == 2 ? 3 : before.rlim_cur);
            turn(4);
            limit_descriptors(before.rlim_cur);
            assert_int_equal(server.closed, !takes && i >= 2);
            assert_int_equal(server.lost, takes && i >= 2);
            assert_int_equal(server.last_fd >= 0, i % 2 == 0 && i != 2 && server.messages == (unsigned)i + 1);
        }
        assert_int_equal(server.messages, takes ? 6 : 2);
        peer_free(p);
        turn(4);
    }
}

/* What is left below the limit. */
static void take_all_descriptors(int *taken, unsigned *count)
{
    while ((taken[*count] = dup(STDERR_FILENO)) >= 0)
        ++*count;
}

static void a_channel_that_keeps_room_gets_descriptors_when_there_are_no_more(void **state)
{
    (void)state;
    static const struct channel_handler keeps_room = {.message = server_message, .closed = closed, .keeps_room = true};
    struct seen server = {0};
    int fds[2], sent[SPARE_MOST + 1], taken[64];
    unsigned count = 0;
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    channel_new(base, fds[0], "master", SPEAKS, SIDE_SERVER, &keeps_room, &server);
    struct peer *p = peer_new(base, "remote", SPEAKS);
    peer_connect(p, fds[1]);
    for (unsigned i = 0; i <= SPARE_MOST; i++)
        sent[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    limit_descriptors(64);
    for (unsigned i = 0; i <= SPARE_MOST; i++) {
        peer_ask(p, &(struct message){.type = MESSAGE_DELIVER, .fd = sent[i]}, answer, &server);
        channels_flush();
        take_all_descriptors(taken, &count); /* also that one's place */
        turn(4);
        assert_int_equal(server.closed, i == SPARE_MOST);
        assert_int_equal(server.messages, i < SPARE_MOST ? i + 1 : SPARE_MOST);
    }
    while (count > 0)
        close(taken[--count]);
    limit_descriptors(before.rlim_cur);
    peer_free(p);
    turn(4);
}

static void when_a_server_dies_repeatable_questions_go_to_the_next_and_others_fail(void **state)
{
    (void)state;
    struct seen first = {0}, second = {0}, repeatable = {0}, once = {0};
    struct channel *c;
    struct peer *p = peer_new(base, "qmgr", SPEAKS);
    peer_connect(p, pair(&c, &first));
    first.reply_on = NULL;
    peer_ask(p, &lease, answer, &repeatable);
    peer_ask(p, &append, answer, &once);
    turn(4);
    assert_int_equal(first.messages, 2);
    channel_free(c);
    turn(4);
    assert_int_equal(once.nulls, 1);
    assert_int_equal(repeatable.nulls + repeatable.answers, 0);
    peer_connect(p, pair(&c, &second));
    turn(4);
    assert_int_equal(second.messages, 1);
    assert_int_equal(repeatable.answers, 1);
    assert_int_equal(once.nulls, 1);
    peer_free(p);
    turn(4);
}

static void a_question_that_kills_its_servers_is_given_up(void **state)
{
    (void)state;
    struct seen server = {0}, asker = {0};
    struct peer *p = peer_new(base, "route", SPEAKS);
    peer_ask(p, &lease, answer, &asker);
    unsigned deaths = 0;
    while (asker.nulls == 0 && deaths < 10) {
        struct channel *c;
        peer_connect(p, pair(&c, &server));
        server.reply_on = NULL;
        turn(4);
        channel_free(c);
        deaths++;
        turn(4);
    }
    assert_int_equal(asker.nulls, 1);
    assert_int_equal(deaths, 3);
    peer_free(p);
}

static void a_question_without_a_server_waits_for_it(void **state)
{
    (void)state;
    struct seen server = {0}, asker = {0};
    struct channel *c;
    struct peer *p = peer_new(base, "qmgr", SPEAKS);
    peer_ask(p, &append, answer, &asker);
    peer_ask(p, &lease, answer, &asker);
    turn(2);
    assert_int_equal(asker.nulls + asker.answers, 0);
    peer_connect(p, pair(&c, &server));
    turn(4);
    assert_int_equal(server.messages, 2);
    assert_int_equal(asker.answers, 1);
    peer_free(p);
    turn(4);
}

static void a_cancelled_question_calls_nobody(void **state)
{
    (void)state;
    struct seen server = {0}, asker = {0};
    struct channel *c;
    struct peer *p = peer_new(base, "qmgr", SPEAKS);
    uint32_t waiting = peer_ask(p, &lease, answer, &asker);
    peer_cancel(p, waiting);
    peer_connect(p, pair(&c, &server));
    uint32_t asked = peer_ask(p, &lease, answer, &asker);
    peer_cancel(p, asked);
    peer_cancel(p, 0);
    peer_cancel(p, 12345);
    turn(4);
    assert_int_equal(server.messages, 1);
    assert_int_equal(asker.answers + asker.nulls, 0);
    assert_int_equal(peer_open(p), 0);
    peer_free(p);
    turn(4);
}

static void a_replaced_server_may_finish_what_it_was_asked(void **state)
{
    (void)state;
    struct seen first = {0}, second = {0}, asker = {0};
    struct channel *old, *new;
    struct peer *p = peer_new(base, "qmgr", SPEAKS);
    peer_connect(p, pair(&old, &first));
    first.reply_on = NULL;
    peer_ask(p, &lease, answer, &asker);
    turn(2);
    peer_connect(p, pair(&new, &second));
    peer_ask(p, &lease, answer, &asker);
    turn(4);
    assert_int_equal(second.messages, 1);
    assert_int_equal(first.closed, 0);
    channel_send(old, &(struct message){.type = MESSAGE_LEASED, .id = first.last_id, .fd = -1, .leased = {.first = 9}});
    turn(4);
    assert_int_equal(asker.answers, 2);
    assert_int_equal(first.closed, 1);
    peer_free(p);
    turn(4);
}

static void pass_seconds(unsigned n)
{
    while (n--) {
        clock_pass(1.001);
        turn(2);
    }
}

/* In a process of its own. Its exit status: 0 as long as it lives. */
static void without_a_server(void (*then)(struct peer *), int expected)
{
    pid_t child = fork();
    int status;
    if (child == 0) {
        struct seen server = {0};
        struct channel *c;
        event_reinit(base);
        log_open("test", open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_TO_STDERR, LOG_LEVEL_INFO);
        struct peer *p = peer_new(base, "qmgr", SPEAKS);
        peer_connect(p, pair(&c, &server));
        turn(2);
        channel_free(c);
        turn(2);
        then(p);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), expected);
}

static void the_host_stands_still(struct peer *p)
{
    (void)p;
    pass_seconds(3);
    clock_pass(3600);
    turn(4);
}

static void nobody_comes(struct peer *p)
{
    (void)p;
    pass_seconds(4);
    pass_seconds(1);
}

static void somebody_comes_and_goes(struct peer *p)
{
    struct seen server = {0};
    struct channel *c;
    pass_seconds(4);
    peer_connect(p, pair(&c, &server));
    pass_seconds(60);
    channel_free(c);
    turn(2);
    clock_pass(3600);
    turn(4);
    pass_seconds(3);
}

/* A server that hung up is replaced at once, if it is at all; but not while the host stands still. */
static void five_seconds_without_a_server_are_the_end(void **state)
{
    (void)state;
    without_a_server(the_host_stands_still, 0);
    without_a_server(somebody_comes_and_goes, 0);
    without_a_server(nobody_comes, 70);
}

static void garbage_closes_the_channel_and_calls_nothing_else(void **state)
{
    (void)state;
    struct seen server = {0};
    struct channel *c;
    int fd = pair(&c, &server);
    assert_int_equal(write(fd, "GET / HTTP/1.0\r\n\r\n", 18), 18);
    turn(4);
    assert_int_equal(server.messages, 0);
    assert_int_equal(server.closed, 1);
    char rest;
    assert_true(read(fd, &rest, 1) <= 0); /* hung up: its end, or a reset as it had unread bytes */
    close(fd);
}

static void an_answer_from_the_wrong_side_closes_the_channel(void **state)
{
    (void)state;
    struct seen server = {0};
    struct channel *c;
    struct buf frame = {0};
    int fd = pair(&c, &server);
    assert_true(message_encode(&frame, &(struct message){.type = MESSAGE_LEASED, .fd = -1}));
    assert_int_equal(write(fd, frame.data, frame.len), (ssize_t)frame.len);
    turn(4);
    assert_int_equal(server.messages, 0);
    assert_int_equal(server.closed, 1);
    buf_free(&frame);
    close(fd);
}

static void frames_in_single_bytes_arrive_whole(void **state)
{
    (void)state;
    struct seen server = {0};
    struct channel *c;
    struct buf frame = {0};
    int fd = pair(&c, &server);
    assert_true(message_encode(&frame, &lease));
    assert_true(message_encode(&frame, &append));
    for (size_t i = 0; i < frame.len; i++) {
        assert_int_equal(write(fd, frame.data + i, 1), 1);
        turn(1);
    }
    assert_int_equal(server.messages, 2);
    buf_free(&frame);
    close(fd);
    turn(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_is_answered),
        cmocka_unit_test(the_log_is_written_before_a_frame),
        cmocka_unit_test(thousands_of_questions_each_get_their_own_answer),
        cmocka_unit_test(descriptors_come_with_their_own_frame),
        cmocka_unit_test(a_descriptor_without_room_is_lost_and_the_channel_lives_if_its_owner_looks),
        cmocka_unit_test(a_channel_that_keeps_room_gets_descriptors_when_there_are_no_more),
        cmocka_unit_test(when_a_server_dies_repeatable_questions_go_to_the_next_and_others_fail),
        cmocka_unit_test(a_question_that_kills_its_servers_is_given_up),
        cmocka_unit_test(a_question_without_a_server_waits_for_it),
        cmocka_unit_test(a_cancelled_question_calls_nobody),
        cmocka_unit_test(a_replaced_server_may_finish_what_it_was_asked),
        cmocka_unit_test(five_seconds_without_a_server_are_the_end),
        cmocka_unit_test(garbage_closes_the_channel_and_calls_nothing_else),
        cmocka_unit_test(an_answer_from_the_wrong_side_closes_the_channel),
        cmocka_unit_test(frames_in_single_bytes_arrive_whole),
    };
    base = event_base_new();
    int failed = cmocka_run_group_tests_name("channel", tests, NULL, NULL);
    event_base_free(base);
    return failed;
}
