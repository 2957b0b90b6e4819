/* PROXY headers of both versions: what a proxy may say, octet by octet as it may come, and what is refused. */
#include "smtpd/proxy.h"

#include "common/address.h"
#include "common/crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct proxy p;
static char text[PROXY_V2_MOST + 64];
static size_t length;

static void line(const char *s)
{
    length = strlen(s);
    memcpy(text, s, length);
}

static enum proxy_result parse(void)
{
    return proxy_parse(span_make(text, length), &p);
}

static void expect_client(const char *address)
{
    struct buf got = BUF_EMPTY(64);
    assert_int_equal(parse(), PROXY_CLIENT);
    address_of_socket((const struct sockaddr *)&p.client, &got);
    assert_string_equal(buf_text(&got), address);
    buf_free(&got);
}

/* Every beginning of it is not yet a header, and what is behind it is not of it. */
static void grows(enum proxy_result result)
{
    size_t all = length;
    for (size_t n = 0; n < all; n++) {
        length = n;
        assert_int_equal(parse(), PROXY_MORE);
    }
    memcpy(text + all, "EHLO x\r\n", 8);
    length = all + 8;
    assert_int_equal(parse(), result);
    assert_int_equal(p.length, all);
    length = all;
}

/* ---- version 1 ------------------------------------------------------------------------------------------------------------------- */

static void a_line_names_the_client(void **state)
{
    (void)state;
    line("PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\n");
    expect_client("192.0.2.7");
    grows(PROXY_CLIENT);
    line("PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n");
    expect_client("2001:db8::7");
    grows(PROXY_CLIENT);
    line("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n");
    assert_int_equal(parse(), PROXY_CLIENT);
}

static void unknown_is_nobody(void **state)
{
    (void)state;
    line("PROXY UNKNOWN\r\n");
    grows(PROXY_NOBODY);
    line("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n");
    assert_int_equal(length, PROXY_V1_MOST);
    grows(PROXY_NOBODY);
}

static void lines_that_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 40000 25\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 40000 25\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 40000 25\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 40000 25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 040 25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 25\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\n",
        "PROXY TCP5 192.0.2.7 198.51.100.1 40000 25\r\n",
        "PROXY \r\n",
        "PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP4\r\n",
        "proxy tcp4 192.0.2.7 198.51.100.1 40000 25\r\n",
        "EHLO x\r\n",
        "\x16\x03\x01",
        "\r\n\r\nx",
        "PROXYTCP4",
        "PROXY UNKNOWN 0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000\r\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        line(wrong[i]);
        if (parse() != PROXY_REFUSED || !p.why)
            fail_msg("taken: %s", wrong[i]);
    }
    memset(text, ' ', 200); /* it never ends */
    memcpy(text, "PROXY TCP4 ", 11);
    length = PROXY_V1_MOST - 1;
    assert_int_equal(parse(), PROXY_MORE);
    length = PROXY_V1_MOST;
    assert_int_equal(parse(), PROXY_REFUSED);
}

/* ---- version 2 ------------------------------------------------------------------------------------------------------------------- */

static void begin(unsigned command, unsigned family)
{
    memcpy(text, "\r\n\r\n\0\r\nQUIT\n", 12);
    text[12] = (char)command;
    text[13] = (char)family;
    length = 16;
}

static void add(const void *octets, size_t n)
{
    memcpy(text + length, octets, n);
    length += n;
}

static void end(void)
{
    text[14] = (char)((length - 16) >> 8);
    text[15] = (char)(length - 16);
}

static void v4(unsigned command)
{
    begin(command, 0x11);
    add("\xc0\x00\x02\x07\xc6\x33\x64\x01\x9c\x40\x00\x19", 12);
}

static void tlv(unsigned type, const void *octets, size_t n)
{
    char head[3] = {(char)type, (char)(n >> 8), (char)n};
    add(head, 3);
    add(octets, n);
}

/* A checksum TLV behind everything, right but for `wrong`. */
static void sum(uint32_t wrong)
{
    tlv(0x03, "\0\0\0\0", 4);
    end();
    uint32_t crc = crc32c(0, text, length) ^ wrong;
    for (int i = 0; i < 4; i++)
        text[length - 4 + (size_t)i] = (char)(crc >> (24 - 8 * i));
}

static void octets_name_the_client(void **state)
{
    (void)state;
    v4(0x21);
    end();
    expect_client("192.0.2.7");
    grows(PROXY_CLIENT);
    begin(0x21, 0x21);
    add("\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x9c\x40\x00\x19", 36);
    end();
    expect_client("2001:db8::7");
    grows(PROXY_CLIENT);
}

static void local_unspecified_and_unix_are_nobody(void **state)
{
    (void)state;
    static const unsigned nobody[][2] = {{0x20, 0x00}, {0x21, 0x00}, {0x20, 0x11}, {0x20, 0x77}};
    for (size_t i = 0; i < sizeof nobody / sizeof nobody[0]; i++) {
        begin(nobody[i][0], nobody[i][1]);
        end();
        grows(PROXY_NOBODY);
    }
    v4(0x20);
    end();
    grows(PROXY_NOBODY);
    static const char paths[216] = "/run/client";
    begin(0x21, 0x31);
    add(paths, sizeof paths);
    tlv(0x04, "", 0);
    end();
    grows(PROXY_NOBODY);
}

static void tlvs_are_stepped_over(void **state)
{
    (void)state;
    static const char cn[300] = "\x01\0\0\0\0";
    v4(0x21);
    tlv(0x04, "", 0);
    tlv(0x20, cn, sizeof cn);
    tlv(0xe0, "mine", 4);
    sum(0);
    expect_client("192.0.2.7");
    grows(PROXY_CLIENT);
}

static void a_wrong_checksum_is_refused(void **state)
{
    (void)state;
    v4(0x21);
    sum(1);
    assert_int_equal(parse(), PROXY_REFUSED);
    v4(0x21);
    sum(0);
    text[16] ^= 1; /* another client */
    assert_int_equal(parse(), PROXY_REFUSED);
    v4(0x21);
    tlv(0x03, "\0\0\0", 3);
    end();
    assert_int_equal(parse(), PROXY_REFUSED);
    v4(0x21);
    tlv(0x03, "\0\0\0\0", 4);
    sum(0);
    assert_int_equal(parse(), PROXY_REFUSED);
}

static void octets_that_are_refused(void **state)
{
    (void)state;
    static const unsigned wrong[][2] = {{0x21, 0x12}, {0x21, 0x22}, {0x21, 0x32}, {0x21, 0x10}, {0x21, 0x41},
                                        {0x22, 0x11}, {0x11, 0x11}, {0x31, 0x11}, {0x2f, 0x00}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        v4(wrong[i][0]);
        text[13] = (char)wrong[i][1];
        end();
        if (parse() != PROXY_REFUSED)
            fail_msg("taken: %02x %02x", wrong[i][0], wrong[i][1]);
    }
    v4(0x21);
    length--;
    end();
    assert_int_equal(parse(), PROXY_REFUSED); /* no room for the addresses */
    v4(0x21);
    add("\x04\x00", 2);
    end();
    assert_int_equal(parse(), PROXY_REFUSED); /* half a TLV */
    v4(0x21);
    add("\x04\x00\x02x", 4);
    end();
    assert_int_equal(parse(), PROXY_REFUSED); /* one that reaches too far */
    v4(0x21);
    static const char many[2048];
    tlv(0x04, many, 2048 - 15);
    end();
    assert_int_equal(length, PROXY_V2_MOST);
    assert_int_equal(parse(), PROXY_CLIENT);
    tlv(0x04, "", 0);
    end();
    length = 16; /* its length alone is enough */
    assert_int_equal(parse(), PROXY_REFUSED);
}

#define T(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_line_names_the_client),
        T(unknown_is_nobody),
        T(lines_that_are_refused),
        T(octets_name_the_client),
        T(local_unspecified_and_unix_are_nobody),
        T(tlvs_are_stepped_over),
        T(a_wrong_checksum_is_refused),
        T(octets_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
