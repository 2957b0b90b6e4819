/* The master's tables against messages.def, how a death reads, back-off, and what the service manager is told. */
#include "common/messages.h"
#include "conf/settings.h"
#include "master/deaths.h"
#include "master/notify.h"
#include "master/programs.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sysexits.h>

#include <cmocka.h>

#define EXITED(code) ((code) << 8)

/* Every protocol of messages.def, but the three that the master doesn't wire, is spoken on some edge. */
static void every_protocol_has_an_edge(void **state)
{
    (void)state;
    unsigned spoken = 1u << PROTOCOL_CONTROL | 1u << PROTOCOL_ADMIN_QMGR | 1u << PROTOCOL_LOCAL_WORKER, defined = 0;
    for (size_t i = 0; i < EDGE_COUNT; i++)
        spoken |= edges[i].protocols;
#define MESSAGE(NAME, name, number, protocol, side, flags) defined |= 1u << PROTOCOL_##protocol;
#include "common/messages.def"
#undef MESSAGE
    assert_int_equal(spoken, defined);
}

static void check_edge(const char *client, const char *server)
{
    size_t found = 0;
    for (size_t i = 0; i < EDGE_COUNT; i++)
        if (strcmp(programs[edges[i].client].name, client) == 0 && strcmp(programs[edges[i].server].name, server) == 0)
            found++;
    if (found != 1)
        fail_msg("%s-%s is there %zu times", client, server, found);
}

/* The list of docs/architecture.md; EDGE_COUNT has no room for another. */
static void the_edges_are_those_of_the_architecture(void **state)
{
    (void)state;
    static const char *const list[EDGE_COUNT][2] = {
        {"smtpd", "route"}, {"smtpd", "auth"}, {"smtpd", "qmgr"}, {"smtpd", "tlsmgr"}, {"qmgr", "route"}, {"qmgr", "remote"},
        {"qmgr", "local"},  {"qmgr", "dns"},   {"remote", "dns"}, {"remote", "sts"},   {"sts", "dns"},    {"sts", "route"},
        {"sts", "qmgr"},    {"route", "dns"},  {"qmgr", "lmtp"},  {"remote", "creds"}, {"creds", "dns"},
    };
    for (size_t i = 0; i < EDGE_COUNT; i++)
        check_edge(list[i][0], list[i][1]);
}

static void programs_have_their_own_letters(void **state)
{
    (void)state;
    char letters[PROGRAM_COUNT + 1] = "";
    for (size_t i = 0; i < PROGRAM_COUNT; i++) {
        assert_non_null(programs[i].name);
        if (i != PROGRAM_LMTP) /* it is remote, in another place */
            assert_null(strchr(letters, programs[i].letter));
        assert_non_null(strchr("SAQRLDOTPC", programs[i].letter));
        letters[i] = programs[i].letter;
    }
    assert_int_equal(programs[PROGRAM_LMTP].letter, programs[PROGRAM_REMOTE].letter);
}

static void a_core_has_an_smtpd(void **state)
{
    (void)state;
    struct settings settings = {.smtpd_processes = 0};
    assert_in_range(program_processes(PROGRAM_SMTPD, &settings), 1, 4096);
    settings.smtpd_processes = 3;
    assert_int_equal(program_processes(PROGRAM_SMTPD, &settings), 3);
    assert_int_equal(program_processes(PROGRAM_QMGR, &settings), 1);
}

static void check_words(int status, const char *expected)
{
    struct buf words = BUF_EMPTY(1024);
    death_words(status, &words);
    assert_string_equal(buf_text(&words), expected);
    buf_free(&words);
}

static void deaths_read_well(void **state)
{
    (void)state;
    check_words(SIGSYS, "killed by SIGSYS (system call not allowed by its sandbox)");
    check_words(SIGSEGV | 0x80, "killed by SIGSEGV (memory error: a bug)");
    check_words(SIGUSR2, "killed by SIGUSR2");
    check_words(SIGRTMIN + 1, "killed by signal 35");
    check_words(EXITED(0), "exited with status 0");
    check_words(EXITED(EX_CONFIG), "exited with status 78 (configuration error)");
    check_words(EXITED(127), "exited with status 127 (the program could not be run)");
}

static void the_master_ends_as_its_program_did(void **state)
{
    (void)state;
    assert_int_equal(death_exit_status(EXITED(EX_CONFIG)), EX_CONFIG);
    assert_int_equal(death_exit_status(EXITED(0)), EX_SOFTWARE);
    assert_int_equal(death_exit_status(EXITED(1)), EX_SOFTWARE);
    assert_int_equal(death_exit_status(SIGSYS), EX_SOFTWARE);
}

static void quick_deaths_cost_time(void **state)
{
    (void)state;
    static const unsigned expected[] = {0, 0, 0, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++)
        assert_int_equal(death_delay(i), expected[i]);
    assert_int_equal(death_delay(UINT32_MAX), 30000);
}

static void a_long_life_forgives(void **state)
{
    (void)state;
    assert_int_equal(death_count(0, 0), 1);
    assert_int_equal(death_count(5, DEATH_QUICK_MS - 1), 6);
    assert_int_equal(death_count(5, DEATH_QUICK_MS), 0);
    assert_int_equal(death_count(1000, 0), 1000);
}

static void check_notify(enum notify_event event, const char *status, const char *expected)
{
    struct buf text = BUF_EMPTY(1024);
    notify_text(&text, event, status, 42, 1234567);
    assert_string_equal(buf_text(&text), expected);
    buf_free(&text);
}

static void the_service_manager_is_told(void **state)
{
    (void)state;
    check_notify(NOTIFY_EVENT_READY, "running", "READY=1\nMAINPID=42\nSTATUS=running\n");
    check_notify(NOTIFY_EVENT_RELOADING, "reloading", "RELOADING=1\nMONOTONIC_USEC=1234567\nSTATUS=reloading\n");
    check_notify(NOTIFY_EVENT_STOPPING, "a\nSTOPPING=0\tb", "STOPPING=1\nSTATUS=a STOPPING=0 b\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_protocol_has_an_edge),
        cmocka_unit_test(the_edges_are_those_of_the_architecture),
        cmocka_unit_test(programs_have_their_own_letters),
        cmocka_unit_test(a_core_has_an_smtpd),
        cmocka_unit_test(deaths_read_well),
        cmocka_unit_test(the_master_ends_as_its_program_did),
        cmocka_unit_test(quick_deaths_cost_time),
        cmocka_unit_test(a_long_life_forgives),
        cmocka_unit_test(the_service_manager_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
