#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "resolver/wire.h"

#include <stdio.h>
#include <string.h>

/* ---- packets are put together here ------------------------------------------------------------------------------------------------ */

static uint8_t packet[65536];
static size_t length;

static void octets(const void *p, size_t n)
{
    memcpy(packet + length, p, n);
    length += n;
}

static void u16(unsigned v)
{
    octets((uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
}

static void name(const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, ".");
        octets((uint8_t[]){(uint8_t)n}, 1);
        octets(text, n);
        text += n + (text[n] == '.');
    }
    octets("", 1);
}

static void question(const char *asked, unsigned type, unsigned rcode, unsigned answers)
{
    length = 0;
    u16(0x1234);
    u16(0x8180 | rcode);
    u16(1);
    u16(answers);
    u16(0);
    u16(0);
    name(asked);
    u16(type);
    u16(1);
}

static size_t head(const char *owner, unsigned type)
{
    name(owner);
    u16(type);
    u16(1);
    u16(0);
    u16(300);
    u16(0);
    return length;
}

static void tail(size_t begin)
{
    packet[begin - 2] = (uint8_t)((length - begin) >> 8);
    packet[begin - 1] = (uint8_t)(length - begin);
}

static void mx(const char *owner, unsigned preference, const char *exchange)
{
    size_t begin = head(owner, WIRE_MX);
    u16(preference);
    name(exchange);
    tail(begin);
}

static void cname(const char *owner, const char *target)
{
    size_t begin = head(owner, WIRE_CNAME);
    name(target);
    tail(begin);
}

static void a(const char *owner, const char *address)
{
    size_t begin = head(owner, WIRE_A);
    octets(address, 4);
    tail(begin);
}

/* ---- and read here ---------------------------------------------------------------------------------------------------------------- */

static char seen[4096];

static void each(const struct wire_record *record, void *arg)
{
    (void)arg;
    size_t n = strlen(seen);
    if (record->name[0] != '\0' || record->preference != 0)
        snprintf(seen + n, sizeof seen - n, "%u %s;", record->preference, record->name);
    else
        snprintf(seen + n, sizeof seen - n, "%u.%u.%u.%u;", record->address[0], record->address[1], record->address[2], record->address[3]);
}

static struct wire wire;

/* The records as text, "(not an answer)" or "(malformed)". */
static const char *answers(void)
{
    /* Behind the packet there is nothing for the reader: a copy of just its size, so that the sanitizer sees what goes beyond. */
    static uint8_t copy[65536];
    uint8_t *end = copy + sizeof copy - length;
    memcpy(end, packet, length);
    seen[0] = '\0';
    if (!wire_open(&wire, end, length))
        return "(not an answer)";
    return wire_answers(&wire, each, NULL) ? seen : "(malformed)";
}

static void records_of_the_question_are_given(void **state)
{
    (void)state;
    question("Example.ORG", WIRE_MX, 0, 3);
    mx("example.org", 10, "MX1.example.org");
    mx("EXAMPLE.org", 0, "");
    mx("other.example", 5, "evil.example");
    assert_string_equal(answers(), "10 mx1.example.org;0.0.0.0;");
    assert_string_equal(wire.asked, "example.org");
    question("nothing.example", WIRE_A, WIRE_NXDOMAIN, 0);
    assert_string_equal(answers(), "");
    assert_int_equal(wire.rcode, WIRE_NXDOMAIN);
}

static void cnames_are_followed_in_any_order(void **state)
{
    (void)state;
    question("www.example", WIRE_A, 0, 4);
    a("end.example", "\300\0\2\1");
    cname("middle.example", "end.example");
    a("www.example.org", "\300\0\2\2");
    cname("www.example", "middle.example");
    assert_string_equal(answers(), "192.0.2.1;");
}

static void cname_loops_end(void **state)
{
    (void)state;
    question("a.example", WIRE_A, 0, 2);
    cname("a.example", "b.example");
    cname("b.example", "a.example");
    assert_string_equal(answers(), "(malformed)");
    question("a.example", WIRE_A, 0, 1);
    cname("a.example", "a.example");
    assert_string_equal(answers(), "(malformed)");
}

static void a_chain_too_long_is_refused(void **state)
{
    (void)state;
    for (unsigned n = WIRE_CHAIN; n <= WIRE_CHAIN + 1; n++) {
        question("0.example", WIRE_A, 0, n + 1);
        for (unsigned i = 0; i < n; i++) {
            char from[32], to[32];
            snprintf(from, sizeof from, "%u.example", i);
            snprintf(to, sizeof to, "%u.example", i + 1);
            cname(from, to);
        }
        char last[32];
        snprintf(last, sizeof last, "%u.example", n);
        a(last, "\300\0\2\1");
        assert_string_equal(answers(), n == WIRE_CHAIN ? "192.0.2.1;" : "(malformed)");
    }
}

static void pointer_record(unsigned pointer)
{
    question("example.org", WIRE_A, 0, 1);
    u16(0xc000 | pointer);
    u16(WIRE_A);
    u16(1);
    u16(0);
    u16(0);
    u16(4);
    octets("\300\0\2\1", 4);
}

static void compressed_names_point_backwards(void **state)
{
    (void)state;
    pointer_record(12);
    assert_string_equal(answers(), "192.0.2.1;");
    size_t here = 12 + 13 + 4;
    pointer_record((unsigned)here); /* at itself */
    assert_string_equal(answers(), "(malformed)");
    pointer_record((unsigned)here + 2);
    assert_string_equal(answers(), "(malformed)");
    pointer_record(0x3fff);
    assert_string_equal(answers(), "(malformed)");
}

static void labels_that_come_back_to_themselves_are_refused(void **state)
{
    (void)state;
    question("x", WIRE_A, 0, 1);
    size_t at = length;
    octets("\1a", 2);
    u16((unsigned)(0xc000 | at)); /* a.a.a.a... */
    u16(WIRE_A);
    u16(1);
    u16(0);
    u16(0);
    u16(0);
    assert_string_equal(answers(), "(malformed)");
}

static void hostile_octets_in_names_are_escaped(void **state)
{
    (void)state;
    question("1.2.0.192.in-addr.arpa", WIRE_PTR, 0, 1);
    size_t begin = head("1.2.0.192.in-addr.arpa", WIRE_PTR);
    octets("\5a.b\r\n\2\377\0\0", 10);
    tail(begin);
    assert_string_equal(answers(), "0 a\\046b\\013\\010.\\255\\000;");
}

static void names_too_long_are_refused(void **state)
{
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        question("x", WIRE_PTR, 0, 1);
        size_t begin = head("x", WIRE_PTR);
        for (int i = 0; i < 3; i++) {
            octets("\77", 1);
            octets("\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1"
                   "\1\1\1\1",
                   63);
        }
        octets(extra ? "\76" : "\75", 1);
        for (int i = 0; i < 61 + extra; i++)
            octets("\1", 1);
        octets("", 1);
        tail(begin);
        assert_int_equal(strlen(answers()) > 1000, !extra);
        if (extra)
            assert_string_equal(answers(), "(malformed)");
    }
}

static void data_of_the_wrong_length_is_refused(void **state)
{
    (void)state;
    question("a.example", WIRE_A, 0, 1);
    size_t begin = head("a.example", WIRE_A);
    octets("\300\0\2", 3);
    tail(begin);
    assert_string_equal(answers(), "(malformed)");
    question("a.example", WIRE_MX, 0, 1);
    begin = head("a.example", WIRE_MX);
    u16(10);
    name("mx.example");
    octets("x", 1);
    tail(begin);
    assert_string_equal(answers(), "(malformed)");
    question("a.example", WIRE_MX, 0, 1);
    begin = head("a.example", WIRE_MX);
    u16(10);
    tail(begin);
    assert_string_equal(answers(), "(malformed)");
}

static void a_packet_cut_anywhere_is_refused(void **state)
{
    (void)state;
    question("www.example", WIRE_MX, 0, 2);
    cname("www.example", "end.example");
    mx("end.example", 10, "mx.example");
    size_t whole = length;
    assert_string_equal(answers(), "10 mx.example;");
    for (length = 0; length < whole; length++)
        assert_string_equal(answers(), length < 12 + 13 + 4 ? "(not an answer)" : "(malformed)");
}

static void what_is_no_answer_is_refused(void **state)
{
    (void)state;
    question("a.example", WIRE_A, 0, 0);
    packet[2] &= 0x7f; /* a question */
    assert_string_equal(answers(), "(not an answer)");
    question("a.example", WIRE_A, 0, 0);
    packet[5] = 2;
    assert_string_equal(answers(), "(not an answer)");
    question("a.example", WIRE_A, 0, 0);
    packet[length - 1] = 3; /* class CHAOS */
    assert_string_equal(answers(), "(not an answer)");
    question("a.example", WIRE_A, 0, 65535); /* counts more than there is */
    assert_string_equal(answers(), "(malformed)");
}

static void that_it_is_cut_or_proved_is_told(void **state)
{
    static const struct {
        uint8_t high, low;
        bool truncated, authentic;
    } cases[] = {{0x81, 0x80, false, false},
                 {0x83, 0x80, true, false},
                 {0x81, 0xa0, false, true},
                 {0x81, 0x90, false, false /* CD */},
                 {0x83, 0xa0, true, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wire w;
        question("a.example", WIRE_A, 0, 0);
        packet[2] = cases[i].high;
        packet[3] = cases[i].low;
        assert_true(wire_open(&w, packet, length));
        assert_int_equal(w.truncated, cases[i].truncated);
        assert_int_equal(w.authentic, cases[i].authentic);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_the_question_are_given),
        cmocka_unit_test(cnames_are_followed_in_any_order),
        cmocka_unit_test(cname_loops_end),
        cmocka_unit_test(a_chain_too_long_is_refused),
        cmocka_unit_test(compressed_names_point_backwards),
        cmocka_unit_test(labels_that_come_back_to_themselves_are_refused),
        cmocka_unit_test(hostile_octets_in_names_are_escaped),
        cmocka_unit_test(names_too_long_are_refused),
        cmocka_unit_test(data_of_the_wrong_length_is_refused),
        cmocka_unit_test(a_packet_cut_anywhere_is_refused),
        cmocka_unit_test(what_is_no_answer_is_refused),
        cmocka_unit_test(that_it_is_cut_or_proved_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
