/* Messages for hosts that can't take them as they are: what is encoded, what is left alone, and what is broken. Each is cut in every two pieces. */
#include "delivery/downgrade.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static enum downgrade_verdict pass(struct downgrade *d, struct span in, size_t first, struct buf *out)
{
    downgrade_add(d, span_make(in.p, first), out);
    downgrade_add(d, span_make(in.p + first, in.n - first), out);
    return downgrade_end(d, out);
}

static void expect_span(struct span in, bool binary, enum downgrade_verdict verdict, struct span wanted)
{
    for (size_t first = 0; first <= in.n; first++) {
        struct buf out = BUF_EMPTY(0);
        struct downgrade *d = downgrade_new(binary);
        assert_int_equal(pass(d, in, first, &out), verdict);
        assert_int_equal(out.len, 0);
        if (verdict != DOWNGRADE_BROKEN) {
            downgrade_again(d);
            assert_int_equal(pass(d, in, in.n - first, &out), verdict);
            if (!span_equal(buf_span(&out), wanted))
                fail_msg("cut at %zu: %s", first, buf_text(&out));
        }
        downgrade_free(d);
        buf_free(&out);
    }
}

#define EXPECT(in, wanted)        expect_span(SPAN_LITERAL(in), false, DOWNGRADE_NEEDED, SPAN_LITERAL(wanted))
#define EXPECT_BINARY(in, wanted) expect_span(SPAN_LITERAL(in), true, DOWNGRADE_NEEDED, SPAN_LITERAL(wanted))
#define CLEAN(in)                 expect_span(SPAN_LITERAL(in), false, DOWNGRADE_CLEAN, SPAN_LITERAL(in))
#define BROKEN(in)                expect_span(SPAN_LITERAL(in), false, DOWNGRADE_BROKEN, span_make(NULL, 0))
#define BROKEN_BINARY(in)         expect_span(SPAN_LITERAL(in), true, DOWNGRADE_BROKEN, span_make(NULL, 0))

#define TEXT   "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
#define EIGHT  "Content-Transfer-Encoding: 8bit\r\n"
#define QUOTED "Content-Transfer-Encoding: quoted-printable\r\n"
#define BASE64 "Content-Transfer-Encoding: base64\r\n"
#define SEVEN  "Content-Transfer-Encoding: 7bit\r\n"
#define MIXED  "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b b\"\r\n"

static void text_is_quoted(void **state)
{
    (void)state;
    EXPECT(TEXT EIGHT "Subject: x\r\n\r\nh\xc3\xb6 = 1 \r\n.\r\n-- \r\n",
           TEXT "Subject: x\r\n" QUOTED "\r\nh=C3=B6 =3D 1=20\r\n.\r\n=2D-=20\r\n");
    EXPECT(TEXT "\r\n\xff\t\r\n\r\n", TEXT QUOTED "\r\n=FF=09\r\n\r\n");
    EXPECT(TEXT "content-transfer-ENCODING :\r\n\t(a (b) \\) c) 8BIT\r\nX: y\r\n\r\n\xe9\r\n", TEXT "X: y\r\n" QUOTED "\r\n=E9\r\n");
    EXPECT(TEXT "\r\n"
                "0123456789012345678901234567890123456789012345678901234567890123456789\xe9\xe9\xe9\r\n",
           TEXT QUOTED "\r\n"
                       "0123456789012345678901234567890123456789012345678901234567890123456789=E9=\r\n=E9=E9\r\n");
}

static void octets_are_base64(void **state)
{
    (void)state;
    EXPECT("MIME-Version: 1.0\r\nContent-Type: image/x\r\n" EIGHT "\r\n\xff\r\n",
           "MIME-Version: 1.0\r\nContent-Type: image/x\r\n" BASE64 "\r\n/w0K\r\n");
    EXPECT_BINARY("Content-Type: a/b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\r\n\n\r\r\n.\r\n\xff",
                  "Content-Type: a/b\r\nMIME-Version: 1.0\r\n" BASE64 "\r\nAA0KCg0NCi4NCv8=\r\n");
    EXPECT_BINARY(TEXT "\r\na\rb\nc\r\nd", TEXT QUOTED "\r\na=0Db=0Ac\r\nd=\r\n");
    EXPECT_BINARY(TEXT "\r\na\r\n \r", TEXT QUOTED "\r\na\r\n =0D=\r\n");
}

static void what_is_seven_bit_is_left_alone(void **state)
{
    (void)state;
    CLEAN(TEXT EIGHT "\r\nh\r\n");
    CLEAN("Subject: \xc3\xb6\r\n\r\nh\r\n");
    CLEAN(MIXED "\r\n--b b\r\n\r\nx\r\n--b b--\r\n");
    CLEAN("X: y\r\n");
    CLEAN("");
    EXPECT_BINARY(TEXT "Content-Transfer-Encoding: BINARY\r\n\r\nx\r\n", TEXT SEVEN "\r\nx\r\n");
}

static void what_is_no_MIME_says_so(void **state)
{
    (void)state;
    EXPECT("Subject: x\r\n\r\n\xe4\r\n",
           "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" QUOTED "\r\n=E4\r\n");
    EXPECT("\r\n\xe4\r\n", "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" QUOTED "\r\n=E4\r\n");
    EXPECT("Content-Type: text\r\n\r\n\xe4\r\n", "Content-Type: text\r\nMIME-Version: 1.0\r\n" QUOTED "\r\n=E4\r\n");
}

static void leaves_of_multiparts_are_converted_and_the_others_not(void **state)
{
    (void)state;
    EXPECT(MIXED EIGHT "\r\npre\xe4mble\r\n--b b\r\nX: 1\r\n\r\nclean \r\n--b b  \r\nContent-Type: text/x\r\n" EIGHT
                       "\r\n\xe4\r\n\r\n--b b\r\n"
                       "Content-Type: a/b\r\n\r\n\xff\r\n--b b--\r\nepilogue\r\n",
           MIXED SEVEN "\r\npre?mble\r\n--b b\r\nX: 1\r\n\r\nclean \r\n--b b  \r\nContent-Type: text/x\r\n" QUOTED
                       "\r\n=E4\r\n\r\n--b b\r\n"
                       "Content-Type: a/b\r\n" BASE64 "\r\n/w==\r\n--b b--\r\nepilogue\r\n");
    EXPECT(MIXED "\r\n--b b\r\n\r\n--b b\r\n\r\n\xe4\r\n--b b--",
           MIXED "\r\n--b b\r\n\r\n--b b\r\n"
                 "Content-Type: text/plain; charset=unknown-8bit\r\n" QUOTED "\r\n=E4\r\n--b b--\r\n");
    EXPECT_BINARY(MIXED "\r\n--b b\r\nContent-Type: a/b\r\n\r\n\r\n\r\nx--b b\n--b b\r\r\n--b b--\r\n",
                  MIXED "\r\n--b b\r\nContent-Type: a/b\r\n" BASE64 "\r\nDQoNCngtLWIgYgotLWIgYg0=\r\n--b b--\r\n");
}

static void multiparts_and_messages_in_each_other(void **state)
{
    (void)state;
    EXPECT(MIXED "\r\n--b b\r\nContent-Type: multipart/x; boundary=in\r\n" EIGHT
                 "\r\n--in\r\n\r\n\xe4\r\n--b b\r\nContent-Type: message/rfc822\r\n" EIGHT "\r\nSubject: in\r\n\r\n\xe4\r\n--b b--\r\n",
           MIXED "\r\n--b b\r\nContent-Type: multipart/x; boundary=in\r\n" SEVEN
                 "\r\n--in\r\nContent-Type: text/plain; charset=unknown-8bit\r\n" QUOTED
                 "\r\n=E4\r\n--b b\r\nContent-Type: message/rfc822\r\n" SEVEN "\r\nSubject: in\r\nMIME-Version: 1.0\r\n"
                 "Content-Type: text/plain; charset=unknown-8bit\r\n" QUOTED "\r\n=E4\r\n--b b--\r\n");
    EXPECT("MIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: in\r\nContent-Type: "
           "text/plain\r\n\r\n\xe4\r\n--d--\r\n",
           "MIME-Version: 1.0\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: in\r\nContent-Type: "
           "text/plain\r\nMIME-Version: 1.0\r\n" QUOTED "\r\n=E4\r\n--d--\r\n");
    EXPECT("Content-Type: message/global\r\nMIME-Version: 1.0\r\n\r\n\xe4\r\n",
           "Content-Type: message/global\r\nMIME-Version: 1.0\r\n" BASE64 "\r\n5A0K\r\n");
}

static void what_is_broken_is_said_to_be(void **state)
{
    (void)state;
    BROKEN(TEXT QUOTED "\r\n\xe4\r\n");
    BROKEN(TEXT "Content-Transfer-Encoding: x-uuencode\r\n\r\n\xe4\r\n");
    BROKEN(TEXT EIGHT EIGHT "\r\n\xe4\r\n");
    BROKEN(TEXT "Content-Type: text/html\r\n\r\n\xe4\r\n");
    BROKEN("Content-Type: message/partial\r\n\r\n\xe4\r\n");
    BROKEN("Content-Type: multipart/mixed\r\n\r\n\xe4\r\n");
    BROKEN("Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--a\r\n\r\n\xe4\r\n");
    BROKEN(MIXED "\r\n\xe4\r\n");
    BROKEN(MIXED "\r\n--b b\r\n\r\n\xe4\r\n--b bb\r\n\r\n--b b--\r\n");
    BROKEN(MIXED "\r\n--b b\r\nX: y\r\n--b b--\r\n");
    BROKEN(MIXED "\r\n--b b\r\nno field\r\n\r\n\xe4\r\n--b b--\r\n");
    BROKEN("just text\r\n\r\n\xe4\r\n");
    BROKEN_BINARY(MIXED "\r\n--b b\r\nX: y\n\r\n\r\n\xe4\r\n--b b--\r\n");
}

static void lines_of_a_binary_message_are_short_in_the_end(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY(0), out = BUF_EMPTY(0);
    buf_add_text(&text, TEXT "\r\n");
    for (int i = 0; i < 999; i++)
        buf_add_char(&text, 'x');
    struct downgrade *d = downgrade_new(false);
    assert_int_equal(pass(d, buf_span(&text), 0, &out), DOWNGRADE_CLEAN);
    downgrade_free(d);
    d = downgrade_new(true);
    assert_int_equal(pass(d, buf_span(&text), 0, &out), DOWNGRADE_NEEDED);
    downgrade_again(d);
    pass(d, buf_span(&text), 500, &out);
    assert_non_null(strstr(buf_text(&out), "xxx=\r\nxxx"));
    downgrade_free(d);
    buf_free(&text);
    buf_free(&out);
}

static void nesting_and_parts_have_a_bound(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY(0), out = BUF_EMPTY(0);
    for (int i = 0; i < 40; i++)
        buf_add_text(&text, "Content-Type: message/rfc822\r\n\r\n");
    struct downgrade *d = downgrade_new(false);
    assert_int_equal(pass(d, buf_span(&text), 0, &out), DOWNGRADE_BROKEN);
    downgrade_free(d);
    buf_clear(&text);
    buf_add_text(&text, MIXED "\r\n");
    for (int i = 0; i < 10001; i++)
        buf_add_text(&text, "--b b\r\n\r\n");
    d = downgrade_new(false);
    assert_int_equal(pass(d, buf_span(&text), 0, &out), DOWNGRADE_BROKEN);
    downgrade_free(d);
    buf_free(&text);
    buf_free(&out);
}

static void other_octets_in_the_second_pass_are_seen(void **state)
{
    (void)state;
    struct buf out = BUF_EMPTY(0);
    struct downgrade *d = downgrade_new(false);
    assert_int_equal(pass(d, SPAN_LITERAL(TEXT "\r\nx\r\n"), 0, &out), DOWNGRADE_CLEAN);
    downgrade_again(d);
    downgrade_add(d, SPAN_LITERAL(TEXT "\r\nhalf"), &out); /* a connection broke */
    buf_clear(&out);
    downgrade_again(d);
    assert_int_equal(pass(d, SPAN_LITERAL(TEXT "\r\nx\r\n"), 0, &out), DOWNGRADE_CLEAN);
    assert_string_equal(buf_text(&out), TEXT "\r\nx\r\n");
    downgrade_again(d);
    assert_int_equal(pass(d, SPAN_LITERAL(TEXT "\r\n\xe4\r\n"), 0, &out), DOWNGRADE_BROKEN);
    downgrade_free(d);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_quoted),
        cmocka_unit_test(octets_are_base64),
        cmocka_unit_test(what_is_seven_bit_is_left_alone),
        cmocka_unit_test(what_is_no_MIME_says_so),
        cmocka_unit_test(leaves_of_multiparts_are_converted_and_the_others_not),
        cmocka_unit_test(multiparts_and_messages_in_each_other),
        cmocka_unit_test(what_is_broken_is_said_to_be),
        cmocka_unit_test(lines_of_a_binary_message_are_short_in_the_end),
        cmocka_unit_test(nesting_and_parts_have_a_bound),
        cmocka_unit_test(other_octets_in_the_second_pass_are_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
