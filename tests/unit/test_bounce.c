/* bounce: the report is one that mail software can read. Its parts are checked by Python's email parser, which nobody here wrote. */
#include "common/messages.h"
#include "qmgr/bounce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const char original[] = "Received: from x\r\nFrom: a@example.com\r\nSubject: hi\r\n\r\nThe text.\r\nMore.\r\n";

static struct bounce_recipient recipients[] = {
    {.address = {"bob@example.net", 15},
     .orcpt = {"rfc822;robert@example.net", 25},
     .status = {"5.1.1", 5},
     .reason = {"550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown in virtual mailbox table of the host here", 108},
     .peer = {"mx1.example.net[192.0.2.1]:25", 29}},
    {.address = {"carol@example.org", 17},
     .original = {"sales@example.com", 17},
     .status = {"4.4.7", 5},
     .reason = {"delivery time expired", 21}},
};

static struct bounce bounce_make(struct span message)
{
    return (struct bounce){.hostname = SPAN_LITERAL("mail.example.com"),
                           .queue_id = SPAN_LITERAL("0123456789AB"),
                           .report_id = SPAN_LITERAL("0123456789AC"),
                           .sender = SPAN_LITERAL("a@example.com"),
                           .envid = SPAN_LITERAL("QQ314159"),
                           .arrived = 1700000000,
                           .now = 1700000100,
                           .random = 42,
                           .recipients = recipients,
                           .count = 2,
                           .original = message};
}

/* Runs a Python program with the report on its standard input as `m`; it asserts by itself. */
static void assert_python(const struct buf *report, const char *program)
{
    char command[4096];
    snprintf(command, sizeof command,
             "/usr/bin/python3 -c '\nimport sys, email, email.policy\nraw = sys.stdin.buffer.read()\n"
             "m = email.message_from_bytes(raw, policy=email.policy.SMTP)\n%s\n'",
             program);
    FILE *f = popen(command, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(report->data, 1, report->len, f), report->len);
    assert_int_equal(pclose(f), 0);
}

static void assert_lines(const struct buf *report)
{
    size_t line = 0;
    for (size_t i = 0; i < report->len; i++) {
        if (report->data[i] == '\n') {
            assert_true(i > 0 && report->data[i - 1] == '\r');
            assert_true(i - line <= 999);
            line = i + 1;
        }
        assert_true(report->data[i] != '\r' || report->data[i + 1] == '\n');
    }
    assert_int_equal(line, report->len);
}

static void report_has_its_three_parts(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce b = bounce_make(span_of(original));
    assert_false(bounce_build(&b, &out));
    assert_lines(&out);
    assert_python(
        &out,
        "assert m.get_content_type() == \"multipart/report\" and m.get_param(\"report-type\") == \"delivery-status\"\n"
        "assert m[\"From\"].addresses[0].addr_spec == \"MAILER-DAEMON@mail.example.com\" and b\"(Mail Delivery System)\" in raw\n"
        "assert m[\"To\"] == \"a@example.com\" and m[\"Auto-Submitted\"] == \"auto-replied\" and m[\"MIME-Version\"] == \"1.0\"\n"
        "assert m[\"Subject\"] == \"Undelivered Mail Returned to Sender\" and m[\"Date\"].datetime.timestamp() == 1700000100\n"
        "assert m[\"Message-ID\"] == \"<0123456789AC@mail.example.com>\" and not m.defects\n"
        "text, status, back = m.get_payload()\n"
        "words = \" \".join(text.get_content().split())\n"
        "assert \"<bob@example.net>: host mx1.example.net[192.0.2.1]:25 said: 550 5.1.1 <bob@example.net>: Recipient\" in words, words\n"
        "assert \"<carol@example.org> (expanded from <sales@example.com>): delivery time expired\" in words, words\n"
        "assert status.get_content_type() == \"message/delivery-status\"\n"
        "about, bob, carol = status.get_payload()\n"
        "assert about[\"Reporting-MTA\"] == \"dns; mail.example.com\" and about[\"X-Postino-Queue-ID\"] == \"0123456789AB\"\n"
        "assert about[\"Original-Envelope-Id\"] == \"QQ314159\" and about[\"Arrival-Date\"].endswith((\"0\", \"5\"))\n"
        "assert bob[\"Original-Recipient\"] == \"rfc822; robert@example.net\" and bob[\"Final-Recipient\"] == \"rfc822; bob@example.net\"\n"
        "assert bob[\"Action\"] == \"failed\" and bob[\"Status\"] == \"5.1.1\" and bob[\"Remote-MTA\"] == \"dns; mx1.example.net\"\n"
        "assert bob[\"Diagnostic-Code\"].startswith(\"smtp; 550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown in\"), "
        "bob[\"Diagnostic-Code\"]\n"
        "assert carol[\"Original-Recipient\"] == \"rfc822; sales@example.com\" and carol[\"Remote-MTA\"] is None\n"
        "assert carol[\"Status\"] == \"4.4.7\" and carol[\"Diagnostic-Code\"] == \"X-Postino; delivery time expired\"\n"
        "assert back.get_content_type() == \"message/rfc822\"\n"
        "assert back.get_payload()[0][\"Subject\"] == \"hi\" and raw.count(b\"The text.\\r\\nMore.\\r\\n\") == 1\n");
    buf_free(&out);
}

static void header_alone_is_returned_when_asked_for(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce b = bounce_make(span_of(original));
    b.headers_only = true;
    bounce_build(&b, &out);
    assert_lines(&out);
    assert_python(&out, "back = m.get_payload()[2]\n"
                        "assert back.get_content_type() == \"text/rfc822-headers\"\n"
                        "assert \"Subject: hi\" in back.get_payload() and \"The text\" not in back.get_payload()\n");
    buf_free(&out);
}

static void eight_bit_originals_are_labelled(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce b = bounce_make(SPAN_LITERAL("Subject: x\r\n\r\ncaf\xc3\xa9 without an end of line"));
    assert_true(bounce_build(&b, &out));
    assert_lines(&out);
    assert_python(&out,
                  "assert m[\"Content-Transfer-Encoding\"] == \"8bit\" and m.get_payload()[2][\"Content-Transfer-Encoding\"] == \"8bit\"\n"
                  "assert \"Content-Transfer-Encoding\" not in m.get_payload()[1]\n");
    buf_free(&out);
}

static void boundary_is_not_in_the_original(void **state)
{
    (void)state;
    struct buf first = BUF_EMPTY(0), message = BUF_EMPTY(0), out = BUF_EMPTY(0);
    struct bounce b = bounce_make(span_of(original));
    bounce_build(&b, &first);
    const char *boundary = strstr(buf_text(&first), "boundary=\"") + 10;
    buf_printf(&message, "Subject: trap\r\n\r\n--%.26s\r\nContent-Type: text/html\r\n\r\nforged\r\n--%.26s--\r\n", boundary, boundary);
    b.original = buf_span(&message);
    bounce_build(&b, &out);
    assert_python(&out, "assert len(m.get_payload()) == 3 and b\"forged\" in m.get_payload()[2].get_payload()[0].as_bytes()\n");
    buf_free(&first);
    buf_free(&message);
    buf_free(&out);
}

static void strangers_words_break_no_line(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0), reason = BUF_EMPTY(0);
    buf_add_text(&reason, "550 ");
    for (int i = 0; i < 3000; i++)
        buf_add_char(&reason, 'x');
    buf_add_text(&reason, "\r\nInjected: yes\r\n\r\n\xff\x01 end");
    struct bounce_recipient r = {.address = SPAN_LITERAL("j\xc3\xb6rg@example.net"),
                                 .status = SPAN_LITERAL("5.0.0"),
                                 .reason = buf_span(&reason),
                                 .peer = SPAN_LITERAL("[192.0.2.1]:25")};
    struct bounce b = bounce_make(span_of(original));
    b.recipients = &r;
    b.count = 1;
    assert_false(bounce_build(&b, &out));
    assert_lines(&out);
    assert_python(
        &out, "about, r = m.get_payload()[1].get_payload()\n"
              "assert r[\"Injected\"] is None and r[\"Final-Recipient\"] == \"utf-8; j\\\\x{F6}rg@example.net\", r[\"Final-Recipient\"]\n"
              "assert len(m.get_payload()) == 3\n");
    buf_free(&out);
    buf_free(&reason);
}

static void reply_is_found_in_the_words_around_it(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce_recipient r = {.address = SPAN_LITERAL("b@example.net"),
                                 .status = SPAN_LITERAL("5.7.1"),
                                 .reason = SPAN_LITERAL("host mx[192.0.2.1] said: 554 5.7.1 no (in reply to end of DATA command)"),
                                 .peer = SPAN_LITERAL("mx[192.0.2.1]:25")};
    struct bounce b = bounce_make(span_of(original));
    b.recipients = &r;
    b.count = 1;
    bounce_build(&b, &out);
    assert_python(&out,
                  "r = m.get_payload()[1].get_payload()[1]\n"
                  "assert r[\"Diagnostic-Code\"] == \"smtp; 554 5.7.1 no\" and r[\"Remote-MTA\"] == \"dns; mx\", r[\"Diagnostic-Code\"]\n"
                  "words = \" \".join(m.get_payload()[0].get_content().split())\n"
                  "assert \"<b@example.net>: host mx[192.0.2.1] said: 554 5.7.1 no (in reply to end of DATA command)\" in words\n");
    buf_free(&out);
}

static void notify_decides(void **state)
{
    (void)state;
    assert_true(bounce_wanted(0));
    assert_true(bounce_wanted(NOTIFY_FAILURE));
    assert_true(bounce_wanted(NOTIFY_FAILURE | NOTIFY_SUCCESS));
    assert_false(bounce_wanted(NOTIFY_NEVER));
    assert_false(bounce_wanted(NOTIFY_SUCCESS));
    assert_false(bounce_wanted(NOTIFY_DELAY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(report_has_its_three_parts),
        cmocka_unit_test(header_alone_is_returned_when_asked_for),
        cmocka_unit_test(eight_bit_originals_are_labelled),
        cmocka_unit_test(boundary_is_not_in_the_original),
        cmocka_unit_test(strangers_words_break_no_line),
        cmocka_unit_test(reply_is_found_in_the_words_around_it),
        cmocka_unit_test(notify_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
