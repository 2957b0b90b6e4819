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
    return (struct bounce){.kind = BOUNCE_FAILURE,
                           .hostname = SPAN_LITERAL("mail.example.com"),
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
    assert_true(bounce_build(&b, &out)); /* the recipient is named in UTF-8 */
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

static void success_is_told_with_the_header_alone(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce_recipient r[] = {{.address = SPAN_LITERAL("b@example.net"),
                                    .status = SPAN_LITERAL("2.0.0"),
                                    .reason = SPAN_LITERAL("250 2.0.0 queued as X"),
                                    .peer = SPAN_LITERAL("mx[192.0.2.1]:25"),
                                    .relayed = true},
                                   {.address = SPAN_LITERAL("alice@example.com"),
                                    .orcpt = SPAN_LITERAL("rfc822;al@example.com"),
                                    .status = SPAN_LITERAL("2.1.5"),
                                    .reason = SPAN_LITERAL("delivered to alice:/home/alice/Maildir"),
                                    .peer = SPAN_LITERAL("alice:/home/alice/Maildir")}};
    struct bounce b = bounce_make(span_of(original));
    b.kind = BOUNCE_SUCCESS;
    b.recipients = r;
    assert_false(bounce_build(&b, &out));
    assert_lines(&out);
    assert_python(&out, "assert m.get_content_type() == \"multipart/report\" and m.get_param(\"report-type\") == \"delivery-status\"\n"
                        "assert m[\"Subject\"] == \"Your mail was delivered\" and not m.defects\n"
                        "text, status, back = m.get_payload()\n"
                        "words = \" \".join(text.get_content().split())\n"
                        "assert \"<b@example.net>: host mx[192.0.2.1]:25 said: 250 2.0.0 queued as X\" in words, words\n"
                        "assert \"<alice@example.com>: delivered to the mailbox\" in words and \"sorry\" not in words, words\n"
                        "about, b, alice = status.get_payload()\n"
                        "assert about[\"Original-Envelope-Id\"] == \"QQ314159\" and about[\"Reporting-MTA\"] == \"dns; mail.example.com\"\n"
                        "assert b[\"Action\"] == \"relayed\" and b[\"Status\"] == \"2.0.0\" and b[\"Remote-MTA\"] == \"dns; mx\"\n"
                        "assert b[\"Diagnostic-Code\"] == \"smtp; 250 2.0.0 queued as X\" and b[\"Will-Retry-Until\"] is None\n"
                        "assert alice[\"Action\"] == \"delivered\" and alice[\"Status\"] == \"2.1.5\" and alice[\"Remote-MTA\"] is None\n"
                        "assert alice[\"Original-Recipient\"] == \"rfc822; al@example.com\" and alice[\"Diagnostic-Code\"] is None\n"
                        "assert b\"Maildir\" not in raw\n"
                        "assert back.get_content_type() == \"text/rfc822-headers\" and \"Subject: hi\" in back.get_payload()\n"
                        "assert \"The text\" not in back.get_payload()\n");
    buf_free(&out);
}

static void delay_says_how_long_it_is_tried(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce_recipient r[] = {
        {.address = SPAN_LITERAL("b@example.net"),
         .status = SPAN_LITERAL("4.2.1"),
         .reason = SPAN_LITERAL("host mx.example.net[192.0.2.1] said: 450 4.2.1 full (in reply to RCPT TO command)")},
        {.address = SPAN_LITERAL("c@example.org"), .status = SPAN_LITERAL("4.0.0"), .reason = SPAN_LITERAL("it could not be tried yet")}};
    struct bounce b = bounce_make(span_of(original));
    b.kind = BOUNCE_DELAY;
    b.recipients = r;
    b.expires = 1700432000;
    bounce_build(&b, &out);
    assert_lines(&out);
    assert_python(&out, "from email.utils import parsedate_to_datetime as date\n"
                        "assert m[\"Subject\"] == \"Your mail is delayed, and is still tried\" and not m.defects\n"
                        "text, status, back = m.get_payload()\n"
                        "words = \" \".join(text.get_content().split())\n"
                        "about, b, c = status.get_payload()\n"
                        "assert \"need not send it again. It is tried until \" + b[\"Will-Retry-Until\"] in words, words\n"
                        "assert date(b[\"Will-Retry-Until\"]).timestamp() == 1700432000 == date(c[\"Will-Retry-Until\"]).timestamp()\n"
                        "assert [r[\"Action\"] for r in (b, c)] == [\"delayed\", \"delayed\"]\n"
                        "assert b[\"Status\"] == \"4.2.1\" and b[\"Remote-MTA\"] == \"dns; mx.example.net\", b[\"Remote-MTA\"]\n"
                        "assert b[\"Diagnostic-Code\"] == \"smtp; 450 4.2.1 full\" and c[\"Remote-MTA\"] is None\n"
                        "assert c[\"Status\"] == \"4.0.0\" and c[\"Diagnostic-Code\"] == \"X-Postino; it could not be tried yet\"\n"
                        "assert back.get_content_type() == \"text/rfc822-headers\" and \"The text\" not in back.get_payload()\n");
    buf_free(&out);
}

/* RFC 6533: the status part is UTF-8, and the parser knows it only as an enclosed message: header, and the recipients as its text. */
static void smtputf8_is_told_in_utf8(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce_recipient r = {.address = SPAN_LITERAL("j\xc3\xb6rg@example.net"),
                                 .original = SPAN_LITERAL("\xe2\x82\xac@example.com"),
                                 .status = SPAN_LITERAL("5.1.1"),
                                 .reason = SPAN_LITERAL("550 5.1.1 <j\xc3\xb6rg>: unknown")};
    struct bounce b = bounce_make(SPAN_LITERAL("Subject: gr\xc3\xbc\xc3\x9f\r\n\r\nThe text.\r\n"));
    b.smtputf8 = true;
    b.sender = SPAN_LITERAL("\xc3\xa4@example.com");
    b.recipients = &r;
    b.count = 1;
    for (int header = 0; header < 2; header++) {
        buf_clear(&out);
        b.headers_only = header;
        assert_true(bounce_build(&b, &out));
        assert_lines(&out);
        assert_python(
            &out,
            "text, status, back = m.get_payload()\n"
            "assert m[\"To\"] == \"\\u00e4@example.com\" and m[\"Content-Transfer-Encoding\"] == \"8bit\"\n"
            "assert text.get_content_charset() == \"utf-8\" and \"<j\\u00f6rg@example.net>\" in text.get_content(), text.get_content()\n"
            "assert \"expanded from <\\u20ac@example.com>\" in text.get_content()\n"
            "assert status.get_content_type() == \"message/global-delivery-status\" and status[\"Content-Transfer-Encoding\"] == \"8bit\"\n"
            "part = raw.split(b\"global-delivery-status\", 1)[1].split(b\"\\r\\n--\", 1)[0].decode()\n"
            "assert \"\\r\\nFinal-Recipient: utf-8; j\\u00f6rg@example.net\\r\\n\" in part, part\n"
            "assert \"\\r\\nOriginal-Recipient: utf-8; \\u20ac@example.com\\r\\n\" in part, part\n"
            "assert \"\\r\\nAction: failed\\r\\nStatus: 5.1.1\\r\\n\" in part\n"
            "assert back.get_content_type() in (\"message/global\", \"message/global-headers\")\n"
            "assert (\"The text.\" in raw.decode()) == (back.get_content_type() == \"message/global\")\n"
            "assert raw.decode().count(\"Subject: gr\\u00fc\\u00df\") == 1\n");
        assert_non_null(memmem(out.data, out.len, header ? "message/global-headers\r" : "message/global\r", header ? 23 : 15));
    }
    buf_free(&out);
}

/* RFC 6533 3: the status part is ASCII, and names the recipient all the same; its header, and so the envelope, need nothing. */
static void an_ascii_sender_hears_of_a_utf8_recipient(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce_recipient r = {.address = SPAN_LITERAL("j\xc3\xb6rg@example.net"),
                                 .orcpt = SPAN_LITERAL("utf-8;\\x{20AC}@example.com"),
                                 .status = SPAN_LITERAL("5.6.7"),
                                 .reason = SPAN_LITERAL("SMTPUTF8 is required")};
    struct bounce b = bounce_make(SPAN_LITERAL("Subject: gr\xc3\xbc\xc3\x9f\r\n\r\nThe text.\r\n"));
    b.recipients = &r;
    b.count = 1;
    b.original_utf8 = true;
    assert_true(bounce_build(&b, &out));
    assert_lines(&out);
    assert_python(&out, "text, status, back = m.get_payload()\n"
                        "assert not m.defects and raw.split(b\"\\r\\n\\r\\n\", 1)[0].isascii()\n"
                        "assert text.get_content_charset() == \"utf-8\" and \"<j\\u00f6rg@example.net>\" in text.get_content()\n"
                        "assert status.get_content_type() == \"message/delivery-status\"\n"
                        "about, one = status.get_payload()\n"
                        "assert one[\"Final-Recipient\"] == \"utf-8; j\\\\x{F6}rg@example.net\", one[\"Final-Recipient\"]\n"
                        "assert one[\"Original-Recipient\"] == \"utf-8; \\\\x{20AC}@example.com\", one[\"Original-Recipient\"]\n"
                        "assert back.get_content_type() == \"message/global\" and back[\"Content-Transfer-Encoding\"] == \"8bit\"\n"
                        "assert raw.decode().count(\"Subject: gr\\u00fc\\u00df\") == 1\n");
    buf_free(&out);
}

static void addresses_that_are_no_utf8_stay_ascii(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct bounce_recipient r = {
        .address = SPAN_LITERAL("j\xf6rg\\+=\xe2\x82\xac@example.net"), .status = SPAN_LITERAL("5.1.1"), .reason = SPAN_LITERAL("no")};
    struct bounce b = bounce_make(span_of(original));
    b.recipients = &r;
    b.count = 1;
    for (int utf8 = 0; utf8 < 2; utf8++) {
        buf_clear(&out);
        b.smtputf8 = utf8;
        bounce_build(&b, &out);
        assert_lines(&out);
        assert_non_null(strstr(buf_text(&out), "Final-Recipient: utf-8; j\\x{F6}rg\\x{5C}\\x{2B}\\x{3D}\\x{20AC}@example.net\r\n"));
    }
    buf_free(&out);
}

static void notify_decides(void **state)
{
    (void)state;
    static const struct {
        unsigned notify;
        bool failure, success, delay;
    } wanted[] = {{0, true, false, true},
                  {NOTIFY_NEVER, false, false, false},
                  {NOTIFY_FAILURE, true, false, false},
                  {NOTIFY_SUCCESS, false, true, false},
                  {NOTIFY_DELAY, false, false, true},
                  {NOTIFY_FAILURE | NOTIFY_SUCCESS, true, true, false},
                  {NOTIFY_FAILURE | NOTIFY_SUCCESS | NOTIFY_DELAY, true, true, true}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        assert_int_equal(bounce_wanted(BOUNCE_FAILURE, wanted[i].notify), wanted[i].failure);
        assert_int_equal(bounce_wanted(BOUNCE_SUCCESS, wanted[i].notify), wanted[i].success);
        assert_int_equal(bounce_wanted(BOUNCE_DELAY, wanted[i].notify), wanted[i].delay);
    }
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
        cmocka_unit_test(success_is_told_with_the_header_alone),
        cmocka_unit_test(delay_says_how_long_it_is_tried),
        cmocka_unit_test(smtputf8_is_told_in_utf8),
        cmocka_unit_test(an_ascii_sender_hears_of_a_utf8_recipient),
        cmocka_unit_test(addresses_that_are_no_utf8_stay_ascii),
        cmocka_unit_test(notify_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
