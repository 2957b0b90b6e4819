/* BDAT (RFC 3030): messages in chunks, and everything a client may do between, before and instead of them. */
#include "tests/unit/session_hear.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define TO_B "MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n"

static int open_session(void **state)
{
    open_world(state);
    connect_client();
    HEAR("220 ");
    client_say("EHLO me.example\r\n");
    HEAR("250 8BITMIME");
    return 0;
}

/* What is stored behind the trace line. */
static struct span stored(void)
{
    const char *p = buf_text(&w.body);
    assert_memory_equal(p, "Received: ", 10);
    while ((p = strstr(p, "\r\n")) && (p[2] == '\t' || p[2] == ' '))
        p += 2;
    return span_make(p + 2, w.body.len - (size_t)(p + 2 - w.body.data));
}

static void expect_stored(const char *text, size_t n)
{
    struct span s = stored();
    if (!span_equal(s, span_make(text, n)))
        fail_msg("stored is %.*s", SPAN_ARG(s));
}

#define STORED(text) expect_stored(text, sizeof(text) - 1)

/* ---- messages -------------------------------------------------------------------------------------------------------------------- */

static void one_chunk(void **state)
{
    (void)state;
    client_say(TO_B);
    HEAR("250 2.1.0 ", "250 2.1.5 ");
    client_say("BDAT 21 LAST\r\nSubject: x\r\n\r\nhallo\r");
    world_turn(&w);
    assert_string_equal(buf_text(&heard), "");
    client_say("\nNOOP\r\n");
    HEAR("250 2.0.0 Ok: queued as ", "250 2.0.0 Ok");
    STORED("Subject: x\r\n\r\nhallo\r\n");
    assert_int_equal(w.flags, 0);
    client_say("BDAT 0 LAST\r\n");
    HEAR("503 5.5.1 send MAIL first");
}

static void many_chunks_and_a_reply_to_each(void **state)
{
    (void)state;
    client_say(TO_B "BDAT 13\r\nSubject: x\r\n\r");
    HEAR("250 2.1.0 ", "250 2.1.5 ", "250 2.0.0 Ok: 13 octets");
    client_say("bdat 1\r\n\n"
               "BDAT 0\r\n"
               "BDAT 5\r\nhall\xf6"
               "NOOP\r\nBDAT 0 LAST\r\nQUIT\r\n");
    HEAR("250 2.0.0 Ok: 1 octets", "250 2.0.0 Ok: 0 octets", "250 2.0.0 Ok: 5 octets", "250 2.0.0 Ok", "250 2.0.0 Ok: queued", "221 ");
    STORED("Subject: x\r\n\r\nhall\xf6\r\n");
    assert_int_equal(w.flags, ENVELOPE_8BIT);
    assert_int_equal(w.puts, 1);
    client_hear_end();
}

static void a_message_of_nothing(void **state)
{
    (void)state;
    client_say(TO_B "BDAT 0 LAST\r\n");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: queued");
    STORED("");
}

static void dots_are_text(void **state)
{
    (void)state;
    client_say(TO_B "BDAT 30 LAST\r\nSubject: x\r\n\r\n.\r\n..\r\n.a\r\nQUI\r\n.\r\nQUIT\r\n");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: queued", "500 ", "221 ");
    STORED("Subject: x\r\n\r\n.\r\n..\r\n.a\r\nQUI\r\n");
}

static void large_messages_go_in_pieces(void **state)
{
    (void)state;
    size_t lines = 40000, n = lines * 26;
    struct buf text = BUF_EMPTY(0);
    buf_add_text(&text, "\r\n");
    for (size_t i = 0; i < lines; i++)
        buf_add_text(&text, ".23456789012345678901234\r\n");
    struct buf say = BUF_EMPTY(0);
    buf_printf(&say, TO_B "BDAT %zu\r\n%.*s", n, (int)n, text.data);
    buf_add_text(&say, "BDAT 2 LAST\r\n\r\n");
    client_say_span(buf_span(&say));
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 1040000 octets", "250 2.0.0 Ok: queued");
    assert_true(w.appends >= 4);
    expect_stored(text.data, text.len);
    buf_free(&text);
    buf_free(&say);
}

/* ---- line ends ------------------------------------------------------------------------------------------------------------------- */

static void bare_line_ends_are_refused_wherever_chunks_end(void **state)
{
    (void)state;
    client_say(TO_B "BDAT 2\r\na\r"
                    "BDAT 2 LAST\r\nb\n");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 2 octets", "550 5.6.0 the message has a bare CR");
    client_say(TO_B "BDAT 2\r\na\n"
                    "BDAT 2 LAST\r\n\r\n");
    HEAR("250 ", "250 ", "550 5.6.0 the message has a bare LF", "503 5.5.1 send MAIL first");
    client_say(TO_B "BDAT 2 LAST\r\na\r");
    HEAR("250 ", "250 ", "550 5.6.0 the message has a bare CR");
    assert_int_equal(w.puts, 0);
    client_say(TO_B "BDAT 2\r\na\r"
                    "BDAT 3 LAST\r\n\nb\rBDAT 1 LAST\r\nx");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 2 octets", "550 5.6.0 the message has a bare CR", "503 ");
}

static void bare_line_ends_are_normalized_wherever_chunks_end(void **state)
{
    (void)state;
    w.settings->limit_bare_newline = BARE_NORMALIZE;
    client_say(TO_B "BDAT 2\r\na\r"
                    "BDAT 3\r\n\n\n.BDAT 2 LAST\r\n\n\r");
    HEAR("250 ", "250 ", "250 ", "250 ", "250 2.0.0 Ok: queued");
    STORED("a\r\n\r\n.\r\n \r\n");
}

/* ---- what is refused ------------------------------------------------------------------------------------------------------------- */

static void refused_chunks_are_read_to_their_end(void **state)
{
    (void)state;
    client_say("BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nRSET\r\nNOOP\r\n");
    HEAR("503 5.5.1 send MAIL first", "503 5.5.1 send MAIL first", "250 2.0.0 Ok");
    client_say("MAIL FROM:<>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    HEAR("250 ", "503 5.5.1 send RCPT first", "250 2.0.0 Ok");
    client_say("MAIL FROM:<>\r\nRCPT TO:<nouser@example.org>\r\nBDAT 6\r\nQUIT\r\nRCPT TO:<b@example.org>\r\nBDAT 6 LAST\r\nQUIT\r\n");
    HEAR("250 ", "550 5.1.1 ", "554 5.5.1 no valid recipients", "503 5.5.1 send MAIL first", "503 5.5.1 send MAIL first");
    assert_int_equal(w.puts, 0);
}

static void no_chunk_and_no_sum_of_them_is_too_large(void **state)
{
    (void)state;
    w.settings->limit_message_size = 20;
    client_say(TO_B "BDAT 20 LAST\r\nSubject: x\r\n\r\n1234\r\n");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: queued");
    client_say(TO_B "BDAT 14\r\nSubject: x\r\n\r\nBDAT 7\r\n12345\r\nBDAT 1 LAST\r\nxNOOP\r\n");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 14 octets", "552 5.3.4 ", "503 ", "250 ");
    client_say(TO_B "BDAT 14\r\nSubject: x\r\n\r\nBDAT 6 LAST\r\n123456"); /* with the CR LF that is added it is too long */
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 14 octets", "552 5.3.4 ");
    assert_int_equal(w.puts, 1);
    client_say(TO_B "BDAT 21 LAST\r\n");
    HEAR("250 ", "250 ", "552 5.3.4 ");
    client_hear_end();
}

static void sizes_that_are_none_end_the_session(void **state)
{
    (void)state;
    static const char *const lines[] = {"BDAT 18446744073709551616 LAST\r\n",
                                        "BDAT -1\r\n",
                                        "BDAT\r\n",
                                        "BDAT 01 LAST\r\n",
                                        "BDAT LAST\r\n",
                                        "BDAT 5 5\r\n",
                                        "BDAT \x01\r\n",
                                        "BDAT 5 LAST\n",
                                        "BDAT 5LAST\r\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        client_say(TO_B);
        HEAR("250 ", "250 ");
        client_say(lines[i]);
        client_say("MAIL FROM:<evil@example.net>\r\nQUIT\r\n");
        HEAR(i == 7 ? "500 5.5.2 a line ends with CR LF" : "501 5.5.4 BDAT takes");
        client_hear_end();
        connect_client();
        HEAR("220 ");
        client_say("EHLO x\r\n");
        HEAR("250 8BITMIME");
    }
    char line[6000] = "BDAT 1";
    memset(line + 6, '0', sizeof line - 7);
    client_say(line);
    HEAR("500 5.5.2 line too long");
    client_hear_end();
    assert_int_equal(w.puts, 0);
}

/* 4294967297 is not 1, in whatever state. */
static void sizes_beyond_every_message_end_the_session(void **state)
{
    (void)state;
    client_say("BDAT 4294967297\r\nxMAIL FROM:<evil@example.net>\r\n");
    HEAR("503 5.5.1 send MAIL first");
    client_hear_end();
    connect_client();
    HEAR("220 ");
    client_say("EHLO x\r\n" TO_B "BDAT 18446744073709551615 LAST\r\nx");
    HEAR("250 ", "250 ", "250 ", "552 5.3.4 ");
    client_hear_end();
}

/* ---- between chunks -------------------------------------------------------------------------------------------------------------- */

static void a_text_that_began_by_bdat_goes_on_so(void **state)
{
    (void)state;
    client_say(TO_B "BDAT 6\r\na: b\r\nDATA\r\nRCPT TO:<c@example.org>\r\nMAIL FROM:<>\r\nVRFY x\r\nBDAT 2 LAST\r\n\r\n");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 6 octets", "503 5.5.1 the message comes by BDAT", "503 5.5.1 the message comes already",
         "503 5.5.1 a transaction is open", "252 ", "250 2.0.0 Ok: queued");
    STORED("a: b\r\n\r\n");
    assert_string_equal(buf_text(&w.recipients), "b@example.org<> ");
}

/* CVE-2017-16943 and kin: what came before a RSET, EHLO or MAIL is in nothing that comes after. */
static void nothing_of_a_message_outlives_its_transaction(void **state)
{
    (void)state;
    static const char *const ends[] = {"RSET\r\n", "EHLO x\r\n", "HELO x\r\n"};
    for (size_t i = 0; i < 3; i++) {
        client_say(TO_B "BDAT 6\r\na: b\r\n");
        HEAR("250 ", "250 ", "250 2.0.0 Ok: 6 octets");
        client_say(ends[i]);
        HEAR("250 ");
        client_say("BDAT 3 LAST\r\nx\r\nRCPT TO:<c@example.org>\r\n");
        HEAR("503 5.5.1 send MAIL first", "503 5.5.1 send MAIL first");
        client_say("MAIL FROM:<z@example.net>\r\nRCPT TO:<c@example.org>\r\nBDAT 3 LAST\r\nx\r\n");
        HEAR("250 ", "250 ", "250 2.0.0 Ok: queued");
        STORED("x\r\n");
        client_say("MAIL FROM:<z@example.net>\r\nRCPT TO:<c@example.org>\r\nDATA\r\n");
        HEAR("250 ", "250 ", "354 ");
        client_say("y\r\n.\r\n");
        HEAR("250 2.0.0 Ok: queued");
        STORED("y\r\n");
    }
}

static void a_large_message_that_is_given_up_is_dropped(void **state)
{
    (void)state;
    struct buf say = BUF_EMPTY(0);
    buf_add_text(&say, TO_B "BDAT 700000\r\n");
    for (size_t i = 0; i < 7000; i++)
        buf_printf(&say, "%098d\r\n", 0);
    client_say_span(buf_span(&say));
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 700000 octets");
    assert_true(w.appends >= 2);
    client_say("RSET\r\n");
    HEAR("250 ");
    assert_int_equal(w.drops, 1);
    client_say_span(buf_span(&say));
    HEAR("250 ", "250 ", "250 2.0.0 Ok: 700000 octets");
    client_say("QUIT\r\n");
    HEAR("221 ");
    client_hear_end();
    for (int i = 0; i < 5; i++)
        world_turn(&w);
    assert_int_equal(w.drops, 2);
    assert_int_equal(w.puts, 0);
    buf_free(&say);
}

/* ---- the queue ------------------------------------------------------------------------------------------------------------------- */

static void a_full_disk_is_told_at_the_chunk(void **state)
{
    (void)state;
    w.store_code = 452;
    client_say(TO_B "BDAT 3 LAST\r\nx\r\n");
    HEAR("250 ", "250 ", "452 4.3.1 ");
    struct buf say = BUF_EMPTY(0);
    buf_add_text(&say, TO_B "BDAT 700000\r\n");
    for (size_t i = 0; i < 7000; i++)
        buf_printf(&say, "%098d\r\n", 0);
    buf_add_text(&say, "BDAT 3 LAST\r\nx\r\n");
    client_say_span(buf_span(&say));
    HEAR("250 ", "250 ", "452 4.3.1 ", "503 5.5.1 ");
    assert_int_equal(w.drops, 1);
    buf_free(&say);
}

/* ---- BINARYMIME, and what is hidden ---------------------------------------------------------------------------------------------- */

static void binary_octets_are_stored_as_they_are(void **state)
{
    (void)state;
    static const char text[] = "Subject: x\r\n\r\na\rb\nc\0\r\r\n\n.\n\xff.\r";
    size_t n = sizeof text - 1;
    for (size_t first = 0; first <= n; first++) {
        struct buf say = BUF_EMPTY(0);
        buf_printf(&say, "MAIL FROM:<a@example.net> BODY=BINARYMIME\r\nRCPT TO:<b@example.org>\r\nBDAT %zu\r\n", first);
        buf_add(&say, text, first);
        buf_printf(&say, "BDAT %zu LAST\r\n", n - first);
        buf_add(&say, text + first, n - first);
        client_say_span(buf_span(&say));
        HEAR("250 ", "250 ", "250 2.0.0 ", "250 2.0.0 Ok: queued");
        expect_stored(text, n);
        assert_int_equal(w.flags, ENVELOPE_8BIT | ENVELOPE_BINARY);
        buf_free(&say);
    }
}

static void binary_messages_have_a_header_of_lines(void **state)
{
    (void)state;
#define BINARY "MAIL FROM:<a@example.net> BODY=BINARYMIME\r\nRCPT TO:<b@example.org>\r\n"
    client_say(BINARY "BDAT 8 LAST\r\na: b\n\r\nc");
    HEAR("250 ", "250 ", "550 5.6.0 the message has a bare LF");
    client_say(BINARY "BDAT 4 LAST\r\na b\n");
    HEAR("250 ", "250 ", "550 5.6.0 ");
    client_say(BINARY "BDAT 5 LAST\r\na b\r\n");
    HEAR("250 ", "250 ", "550 5.6.0 BODY=BINARYMIME, but the message has no header");
    client_say(BINARY "DATA\r\nRSET\r\n");
    HEAR("250 ", "250 ", "503 5.5.1 BODY=BINARYMIME takes BDAT", "250 ");
    client_say(TO_B "BDAT 8 LAST\r\na: b\r\n\r\n"); /* it is forgotten */
    HEAR("250 ", "250 ", "250 ");
    assert_int_equal(w.flags, 0);
}

static void binary_messages_have_limits_too(void **state)
{
    (void)state;
    w.settings->limit_hops = 1;
    w.settings->limit_message_size = 100;
    w.settings->limit_nul = NUL_REFUSE;
    client_say(BINARY "BDAT 30 LAST\r\nReceived: a\r\nReceived: b\r\n\r\nx\n");
    HEAR("250 ", "250 ", "554 5.4.6 ");
    client_say(BINARY "BDAT 10 LAST\r\nA: b\r\n\r\n");
    client_say_span(SPAN_LITERAL("\0\n"));
    HEAR("250 ", "250 ", "550 5.6.0 the message has a NUL");
    client_say(BINARY "BDAT 8\r\nA: b\r\n\r\nBDAT 93\r\n");
    for (int i = 0; i < 93; i++)
        client_say("\n");
    client_say("NOOP\r\n");
    HEAR("250 ", "250 ", "250 ", "552 5.3.4 ", "250 2.0.0 Ok");
}

static char chunking[] = "chunking", binarymime[] = "BINARYMIME", eightbit[] = "8BITMIME";

static void what_a_listener_hides_is_not_there(void **state)
{
    (void)state;
    char *hidden[] = {binarymime, eightbit};
    w.listener.hide = (struct strings){2, hidden};
    client_say("EHLO x\r\n" BINARY);
    HEAR("250 MT-PRIORITY", "555 5.5.4 ", "503 ");
    client_say(TO_B "BDAT 0 LAST\r\n");
    HEAR("250 ", "250 ", "250 2.0.0 Ok: queued");
    hidden[0] = chunking;
    client_say("EHLO x\r\n" BINARY TO_B "BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    HEAR("250 MT-PRIORITY", "555 5.5.4 ", "503 ", "250 ", "250 ", "502 5.5.1 CHUNKING is not offered", "250 2.0.0 Ok");
    w.listener.hide = (struct strings){0, NULL};
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_session, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_chunk),
        TEST(many_chunks_and_a_reply_to_each),
        TEST(a_message_of_nothing),
        TEST(dots_are_text),
        TEST(large_messages_go_in_pieces),
        TEST(bare_line_ends_are_refused_wherever_chunks_end),
        TEST(bare_line_ends_are_normalized_wherever_chunks_end),
        TEST(refused_chunks_are_read_to_their_end),
        TEST(no_chunk_and_no_sum_of_them_is_too_large),
        TEST(sizes_that_are_none_end_the_session),
        TEST(sizes_beyond_every_message_end_the_session),
        TEST(a_text_that_began_by_bdat_goes_on_so),
        TEST(nothing_of_a_message_outlives_its_transaction),
        TEST(a_large_message_that_is_given_up_is_dropped),
        TEST(a_full_disk_is_told_at_the_chunk),
        TEST(binary_octets_are_stored_as_they_are),
        TEST(binary_messages_have_a_header_of_lines),
        TEST(binary_messages_have_limits_too),
        TEST(what_a_listener_hides_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
