/* Command lines, good and bad, and what the parser makes of them. */
#include "smtpd/command.h"
#include "smtpd/parameters.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct expectation {
    const char *line;
    enum command_result result;
    enum verb verb;
    const char *whole; /* path, or argument where there is none; NULL: not looked at */
};

static const struct expectation table[] = {
    {"HELO mx.example.org", COMMAND_OK, VERB_HELO, "mx.example.org"},
    {"ehlo [192.0.2.1]  ", COMMAND_OK, VERB_EHLO, "[192.0.2.1]"},
    {"EHLO\tx", COMMAND_OK, VERB_EHLO, "x"},
    {"EHLO", COMMAND_SYNTAX, VERB_EHLO, NULL},
    {"EHLO two words", COMMAND_SYNTAX, VERB_EHLO, NULL},
    {"EHLO b\xc3\xbcrgle", COMMAND_CHARACTERS, VERB_EHLO, NULL},
    {"MAIL FROM:<a@example.org>", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"mail from: <a@example.org> ", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:a@example.org", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:<>", COMMAND_OK, VERB_MAIL, ""},
    {"MAIL FROM:<@relay.example,@b.example:a@example.org>", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:<\"a b\"@example.org> SIZE=10", COMMAND_OK, VERB_MAIL, "\"a b\"@example.org"},
    {"MAIL FROM:<root>", COMMAND_OK, VERB_MAIL, "root"},
    {"MAIL", COMMAND_SYNTAX, VERB_MAIL, NULL},
    {"MAIL FROM", COMMAND_SYNTAX, VERB_MAIL, NULL},
    {"MAIL FROM:", COMMAND_SYNTAX, VERB_MAIL, NULL},
    {"MAIL TO:<a@example.org>", COMMAND_SYNTAX, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org", COMMAND_PATH, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org>SIZE=1", COMMAND_PATH, VERB_MAIL, NULL},
    {"MAIL FROM:<a@@example.org>", COMMAND_PATH, VERB_MAIL, NULL},
    {"MAIL FROM:<a b@example.org>", COMMAND_PATH, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> SIZE=", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> SIZE=-1", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> SIZE=1x", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> SIZE=1 SIZE=2", COMMAND_PARAMETER, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> BODY=BINARYMIME", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:<a@example.org> BODY=BINARY", COMMAND_VALUE, VERB_MAIL, NULL},
    {"BDAT 0", COMMAND_OK, VERB_BDAT, NULL},
    {"bdat 86 last", COMMAND_OK, VERB_BDAT, NULL},
    {"BDAT 4294967297", COMMAND_OK, VERB_BDAT, NULL},
    {"BDAT 18446744073709551615 LAST", COMMAND_OK, VERB_BDAT, NULL},
    {"BDAT 18446744073709551616", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT 36893488147419103233", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT -1", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT +1", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT 01", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT 00", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT 0x10", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT 1 0", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT 1 LAST LAST", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT 1 LASTLY", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT LAST", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"BDAT", COMMAND_SYNTAX, VERB_BDAT, NULL},
    {"MAIL FROM:<a@example.org> AUTH=<>", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:<a@example.org> AUTH=", COMMAND_VALUE, VERB_MAIL, NULL},
    {"RCPT TO:<b@example.org>", COMMAND_OK, VERB_RCPT, "b@example.org"},
    {"RCPT TO:<Postmaster>", COMMAND_OK, VERB_RCPT, "Postmaster"},
    {"RCPT TO:<>", COMMAND_PATH, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=NEVER", COMMAND_OK, VERB_RCPT, "b@example.org"},
    {"RCPT TO:<b@example.org> NOTIFY=", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=ALWAYS", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=NEVER,DELAY", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=DELAY,NEVER", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=NEVER,NEVER", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=DELAY,SUCCESS,DELAY", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=DELAY,", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=,DELAY", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> NOTIFY=DELAY NOTIFY=DELAY", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;b@example.org", COMMAND_OK, VERB_RCPT, "b@example.org"},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;a ORCPT=rfc822;a", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=utf-8;j\\x{F6}rg@example.org", COMMAND_OK, VERB_RCPT, "b@example.org"},
    {"RCPT TO:<b@example.org> ORCPT=utf-8;j\xc3\xb6rg@example.org", COMMAND_OK, VERB_RCPT, "b@example.org"},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;j\xc3\xb6rg@example.org", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=\xc3\xb6;jorg@example.org", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=utf-8;j\xc3rg@example.org", COMMAND_CHARACTERS, VERB_RCPT, NULL},
    {"MAIL FROM:<j\xc3\xb6rg@b\xc3\xbc.example> SMTPUTF8", COMMAND_OK, VERB_MAIL, "j\xc3\xb6rg@b\xc3\xbc.example"},
    {"RCPT TO:<\"j\xc3\xb6 rg\"@b\xc3\xbc.example>", COMMAND_OK, VERB_RCPT, "\"j\xc3\xb6 rg\"@b\xc3\xbc.example"},
    {"MAIL FROM:<a@example.org> smtputf8 SIZE=1", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:<a@example.org> SMTPUTF8=", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> SMTPUTF8=1", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> SMTPUTF8 SMTPUTF8", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> RequireTLS", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:<a@example.org> REQUIRETLS=", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> REQUIRETLS REQUIRETLS", COMMAND_VALUE, VERB_MAIL, NULL},
    {"RCPT TO:<a@example.org> REQUIRETLS", COMMAND_PARAMETER, VERB_RCPT, NULL},
    {"MAIL FROM:<a@example.org> ENVID=\xc3\xb6", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> AUTH=\xc3\xb6", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> \xc3\xb6=1", COMMAND_PARAMETER, VERB_MAIL, NULL},
    {"RCPT TO:<a@example.org> SMTPUTF8", COMMAND_PARAMETER, VERB_RCPT, NULL},
    {"MAIL FROM:<j\xf6rg@example.org> SMTPUTF8", COMMAND_CHARACTERS, VERB_MAIL, NULL},
    {"MAIL FROM:<\xc0\xafx@example.org> SMTPUTF8", COMMAND_CHARACTERS, VERB_MAIL, NULL},
    {"MAIL FROM:<\xed\xa0\x80@example.org> SMTPUTF8", COMMAND_CHARACTERS, VERB_MAIL, NULL},
    {"MAIL FROM:<x\xc2\x9bm@example.org> SMTPUTF8", COMMAND_CHARACTERS, VERB_MAIL, NULL},
    {"MAIL FROM:<x\xe2\x80\xaey@example.org> SMTPUTF8", COMMAND_CHARACTERS, VERB_MAIL, NULL},
    {"MAIL FROM:<x\xe2\x80\xa8y@example.org> SMTPUTF8", COMMAND_CHARACTERS, VERB_MAIL, NULL},
    {"EHLO b\xc3\xbc.example", COMMAND_CHARACTERS, VERB_EHLO, NULL},
    {"AUTH PLAIN \xc3\xb6", COMMAND_CHARACTERS, VERB_AUTH, NULL},
    {"VRFY j\xc3\xb6rg", COMMAND_OK, VERB_VRFY, "j\xc3\xb6rg"},
    {"EXPN list smtputf8", COMMAND_OK, VERB_EXPN, "list"},
    {"VRFY SMTPUTF8", COMMAND_OK, VERB_VRFY, "SMTPUTF8"},
    {"VRFY xSMTPUTF8", COMMAND_OK, VERB_VRFY, "xSMTPUTF8"},
    {"RCPT TO:<b@example.org> ORCPT=b@example.org", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=;b@example.org", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc:822;b", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;b=0D=0AX-Evil:y", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;b+0D+0AX-Evil:y", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;b+00", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=x400;b+C3+B6", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;b+4", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;b+", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> ORCPT=rfc822;b+zz", COMMAND_VALUE, VERB_RCPT, NULL},
    {"RCPT TO:<b@example.org> RET=FULL", COMMAND_PARAMETER, VERB_RCPT, NULL},
    {"MAIL FROM:<a@example.org> NOTIFY=NEVER", COMMAND_PARAMETER, VERB_MAIL, NULL},
    {"MAIL FROM:<a@example.org> RET=hdrs ENVID=QQ314159", COMMAND_OK, VERB_MAIL, "a@example.org"},
    {"MAIL FROM:<> RET=full", COMMAND_OK, VERB_MAIL, ""},
    {"MAIL FROM:<> RET=SOME", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> RET=", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> RET=FULL RET=FULL", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> ENVID=a ENVID=a", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> ENVID=", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> ENVID=a=0D=0Ab", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> ENVID=a+0D+0Ab", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> ENVID=a+7F", COMMAND_VALUE, VERB_MAIL, NULL},
    {"MAIL FROM:<> ENVID=+E2+82+AC", COMMAND_VALUE, VERB_MAIL, NULL},
    {"RCPT FROM:<b@example.org>", COMMAND_SYNTAX, VERB_RCPT, NULL},
    {"DATA", COMMAND_OK, VERB_DATA, ""},
    {"DATA now", COMMAND_SYNTAX, VERB_DATA, NULL},
    {"RSET", COMMAND_OK, VERB_RSET, ""},
    {"RSET x", COMMAND_SYNTAX, VERB_RSET, NULL},
    {"NOOP anything at all", COMMAND_OK, VERB_NOOP, "anything at all"},
    {"QUIT  ", COMMAND_OK, VERB_QUIT, ""},
    {"VRFY root", COMMAND_OK, VERB_VRFY, "root"},
    {"VRFY", COMMAND_SYNTAX, VERB_VRFY, NULL},
    {"EXPN list", COMMAND_OK, VERB_EXPN, "list"},
    {"HELP", COMMAND_OK, VERB_HELP, ""},
    {"STARTTLS", COMMAND_OK, VERB_STARTTLS, ""},
    {"STARTTLS x", COMMAND_SYNTAX, VERB_STARTTLS, NULL},
    {"AUTH PLAIN", COMMAND_OK, VERB_AUTH, "PLAIN"},
    {"AUTH PLAIN AGEAYg==", COMMAND_OK, VERB_AUTH, "PLAIN"},
    {"AUTH", COMMAND_SYNTAX, VERB_AUTH, NULL},
    {"AUTH PLAIN a b", COMMAND_SYNTAX, VERB_AUTH, NULL},
    {"GET / HTTP/1.1", COMMAND_OK, VERB_HTTP, NULL},
    {"CONNECT mx:25 HTTP/1.0", COMMAND_OK, VERB_HTTP, NULL},
    {"", COMMAND_UNKNOWN, VERB_UNKNOWN, NULL},
    {"   ", COMMAND_UNKNOWN, VERB_UNKNOWN, NULL},
    {"MAILFROM:<a@example.org>", COMMAND_UNKNOWN, VERB_UNKNOWN, NULL},
    {"FROB", COMMAND_UNKNOWN, VERB_UNKNOWN, NULL},
    {"NOOP \x01", COMMAND_CHARACTERS, VERB_NOOP, NULL},
    {"NOOP \x7f", COMMAND_CHARACTERS, VERB_NOOP, NULL},
};

static void a_chunk_s_size_is_what_it_says(void **state)
{
    (void)state;
    struct command c;
    command_parse(SPAN_LITERAL("BDAT 4294967297 LAST"), &c);
    assert_true(c.size == 4294967297 && c.last);
    command_parse(SPAN_LITERAL("BDAT 18446744073709551615"), &c);
    assert_true(c.size == UINT64_MAX && !c.last);
    command_parse(SPAN_LITERAL("BDAT 0"), &c);
    assert_true(c.size == 0 && !c.last);
}

static void lines_are_taken_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct expectation *e = &table[i];
        struct command c;
        enum command_result result = command_parse(span_of(e->line), &c);
        if (result != e->result || c.verb != e->verb)
            fail_msg("%s: result %d, verb %d", e->line, result, c.verb);
        struct span got = c.verb == VERB_MAIL || c.verb == VERB_RCPT ? c.path.whole : c.argument;
        if (e->whole && !span_equal(got, span_of(e->whole)))
            fail_msg("%s: got %.*s", e->line, SPAN_ARG(got));
    }
}

static void sizes_do_not_overflow(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        uint64_t size;
    } sizes[] = {
        {"MAIL FROM:<> SIZE=0", 0},
        {"MAIL FROM:<> SIZE=1000", 1000},
        {"MAIL FROM:<> SIZE=18446744073709551614", UINT64_MAX - 1},
        {"MAIL FROM:<> SIZE=18446744073709551615", UINT64_MAX},
        {"MAIL FROM:<> SIZE=18446744073709551616", UINT64_MAX},
        {"MAIL FROM:<> SIZE=99999999999999999999", UINT64_MAX},
        {"MAIL FROM:<> size=00000000000000000007", 7},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct command c;
        assert_int_equal(command_parse(span_of(sizes[i].line), &c), COMMAND_OK);
        assert_true(c.size == sizes[i].size);
    }
    struct command c;
    assert_int_equal(command_parse(span_of("MAIL FROM:<> SIZE=111111111111111111111"), &c), COMMAND_VALUE);
}

static void parameters_and_responses_are_found(void **state)
{
    (void)state;
    struct command c;
    assert_int_equal(command_parse(span_of("MAIL FROM:<a@b.example>  BODY=8bitmime SIZE=5"), &c), COMMAND_OK);
    assert_int_equal(c.body, BODY_8BITMIME);
    assert_int_equal(c.size, 5);
    assert_int_equal(command_parse(span_of("AUTH PLAIN AGEAYg=="), &c), COMMAND_OK);
    assert_true(c.has_initial && span_equal(c.initial, SPAN_LITERAL("AGEAYg==")));
    assert_int_equal(command_parse(span_of("AUTH plain"), &c), COMMAND_OK);
    assert_false(c.has_initial);
    assert_int_equal(command_parse(SPAN_LITERAL("NOOP a\0b"), &c), COMMAND_CHARACTERS);
}

static void parameters_of_reports_are_found(void **state)
{
    (void)state;
    struct command c;
    assert_int_equal(command_parse(span_of("MAIL FROM:<a@b.example> ENVID=a+2Bb+20c RET=HDRS SIZE=5"), &c), COMMAND_OK);
    assert_int_equal(c.ret, RET_HDRS);
    assert_true(span_equal(c.envid, SPAN_LITERAL("a+2Bb+20c")));
    assert_int_equal(command_parse(span_of("MAIL FROM:<a@b.example>"), &c), COMMAND_OK);
    assert_true(c.ret == RET_UNSET && c.envid.n == 0);
    assert_int_equal(command_parse(span_of("RCPT TO:<a@b.example> notify=Success,DELAY,failure ORCPT=rfc822;x+40y"), &c), COMMAND_OK);
    assert_int_equal(c.notify, NOTIFY_SUCCESS | NOTIFY_DELAY | NOTIFY_FAILURE);
    assert_true(span_equal(c.orcpt, SPAN_LITERAL("rfc822;x+40y")));
    assert_int_equal(command_parse(span_of("RCPT TO:<a@b.example>"), &c), COMMAND_OK);
    assert_true(c.notify == 0 && c.orcpt.n == 0);
}

static void orcpt_is(const char *value, const char *decoded)
{
    struct buf out = BUF_EMPTY(0);
    bool good = parameter_orcpt(span_of(value), &out);
    if (good != (decoded != NULL) || (decoded && strcmp(buf_text(&out), decoded) != 0))
        fail_msg("%s: got %s", value, buf_text(&out));
    buf_free(&out);
}

static void an_original_recipient_is_kept_in_ascii(void **state)
{
    (void)state;
    orcpt_is("rfc822;a+2Bb@example.org", "rfc822;a+b@example.org");
    orcpt_is("utf-8;j\xc3\xb6rg@b\xc3\xbc.example", "utf-8;j\\x{F6}rg@b\\x{FC}.example");
    orcpt_is("UTF-8;\xf0\x9f\x98\x80\\x{43F}@example.org", "UTF-8;\\x{1F600}\\x{43F}@example.org");
    orcpt_is("utf-8;\xc3\xb6+0Ax", NULL);
    orcpt_is("utf-8;\xc3\xb6+C3+B6", "utf-8;\\x{F6}\\x{F6}");
    orcpt_is("rfc822;a+2Bb@b+C3+BCcher.example", "utf-8;a+b@b\\x{FC}cher.example"); /* as Postfix says it */
    orcpt_is("rfc822;+C3", NULL);
    orcpt_is("rfc822;+E2+80+AE", NULL);
    orcpt_is("x400;+C3+B6", NULL);
    orcpt_is("utf-8;\xc3", NULL);
    orcpt_is("rfc822;\xc3\xb6", NULL);
    orcpt_is("utf-8;", NULL);
}

static void smtputf8_is_seen(void **state)
{
    (void)state;
    struct command c;
    assert_int_equal(command_parse(span_of("MAIL FROM:<> SMTPUTF8"), &c), COMMAND_OK);
    assert_true(c.smtputf8);
    assert_int_equal(command_parse(span_of("MAIL FROM:<>"), &c), COMMAND_OK);
    assert_false(c.smtputf8);
    assert_int_equal(command_parse(span_of("VRFY a  SMTPUTF8"), &c), COMMAND_OK);
    assert_true(c.smtputf8 && span_equal(c.argument, SPAN_LITERAL("a")));
    assert_int_equal(command_parse(span_of("VRFY SMTPUTF8"), &c), COMMAND_OK);
    assert_false(c.smtputf8);
}

static enum command_result parse_long(const char *front, size_t n)
{
    static char line[1024];
    struct command c;
    memset(line, 'x', sizeof line);
    memcpy(line, front, strlen(front));
    return command_parse(span_make(line, strlen(front) + n), &c);
}

static void times_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        enum command_result result;
        uint32_t hold_for;
        uint64_t hold_until;
        int32_t by_time;
        uint16_t by_mode, mt_priority;
    } cases[] = {
        {"HOLDFOR=1", COMMAND_OK, 1, 0, 0, 0, 0},
        {"holdfor=999999999", COMMAND_OK, 999999999, 0, 0, 0, 0},
        {"HOLDFOR=1000000000", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDFOR=4294967297", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDFOR=0", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDFOR=007", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDFOR=-1", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDFOR=", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDFOR", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDFOR=1 HOLDFOR=1", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDUNTIL=2026-11-22T06:38:25Z", COMMAND_OK, 0, 1795329505, 0, 0, 0},
        {"HOLDUNTIL=2026-11-22T06:38:25+01:00", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDUNTIL=1970-01-01T00:00:00Z", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"HOLDUNTIL=", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=120;R", COMMAND_OK, 0, 0, 120, BY_RETURN, 0},
        {"by=+120;rt", COMMAND_OK, 0, 0, 120, BY_RETURN | BY_TRACE, 0},
        {"BY=-999999999;NT", COMMAND_OK, 0, 0, -999999999, BY_NOTIFY | BY_TRACE, 0},
        {"BY=0;N", COMMAND_OK, 0, 0, 0, BY_NOTIFY, 0},
        {"BY=0;R", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=-1;R", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=1234567890;N", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=120", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=;R", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=+;R", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=120;", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=120;T", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=120;RN", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=120;RTT", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"BY=1+2;R", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"MT-PRIORITY=-9", COMMAND_OK, 0, 0, 0, 0, 1},
        {"MT-PRIORITY=0", COMMAND_OK, 0, 0, 0, 0, MT_PRIORITY_ZERO},
        {"MT-PRIORITY=9", COMMAND_OK, 0, 0, 0, 0, MT_PRIORITY_MOST},
        {"MT-PRIORITY=10", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"MT-PRIORITY=-0", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"MT-PRIORITY=+1", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"MT-PRIORITY=-10", COMMAND_VALUE, 0, 0, 0, 0, 0},
        {"MT-PRIORITY=", COMMAND_VALUE, 0, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[128];
        struct command c;
        snprintf(line, sizeof line, "MAIL FROM:<a@b.example> %s", cases[i].words);
        enum command_result result = command_parse(span_of(line), &c);
        if (result != cases[i].result)
            fail_msg("%s: %d", cases[i].words, result);
        if (result != COMMAND_OK)
            continue;
        assert_int_equal(c.times.hold_for, cases[i].hold_for);
        assert_int_equal(c.times.hold_until, cases[i].hold_until);
        assert_int_equal(c.times.by_time, cases[i].by_time);
        assert_int_equal(c.times.by_mode, cases[i].by_mode);
        assert_int_equal(c.times.mt_priority, cases[i].mt_priority);
    }
}

static void parameters_of_reports_have_limits(void **state)
{
    (void)state;
    assert_int_equal(parse_long("MAIL FROM:<> ENVID=", 100), COMMAND_OK);
    assert_int_equal(parse_long("MAIL FROM:<> ENVID=", 101), COMMAND_VALUE);
    assert_int_equal(parse_long("RCPT TO:<a> ORCPT=rfc822;", 493), COMMAND_OK);
    assert_int_equal(parse_long("RCPT TO:<a> ORCPT=rfc822;", 494), COMMAND_VALUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_taken_apart),
        cmocka_unit_test(a_chunk_s_size_is_what_it_says),
        cmocka_unit_test(sizes_do_not_overflow),
        cmocka_unit_test(parameters_and_responses_are_found),
        cmocka_unit_test(parameters_of_reports_are_found),
        cmocka_unit_test(parameters_of_reports_have_limits),
        cmocka_unit_test(an_original_recipient_is_kept_in_ascii),
        cmocka_unit_test(smtputf8_is_seen),
        cmocka_unit_test(times_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
