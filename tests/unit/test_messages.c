/* The frames between programs: what goes in comes out, and whatever is malformed stops at the door. */
#include "common/messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const unsigned everything = ~0u;

static struct message a_put(struct buf *records)
{
    record_recipient_add(records, &(struct record_recipient){.address = SPAN_LITERAL("a@example.org"),
                                                             .original = SPAN_LITERAL("alias@example.org"),
                                                             .notify = NOTIFY_DELAY,
                                                             .transport = SPAN_LITERAL("smtp"),
                                                             .nexthop = SPAN_LITERAL("example.org"),
                                                             .tls = SPAN_LITERAL("may")});
    record_recipient_add(records, &(struct record_recipient){.address = SPAN_LITERAL("b"), .transport = SPAN_LITERAL("local")});
    return (struct message){.type = MESSAGE_PUT,
                            .id = 7,
                            .fd = -1,
                            .put = {.id = UINT64_C(0x123456789abcdef),
                                    .sender = SPAN_LITERAL("s@example.net"),
                                    .flags = ENVELOPE_8BIT,
                                    .recipients = {2, buf_span(records)},
                                    .body = SPAN_LITERAL("Subject: x\r\n\r\n\0binary")}};
}

static int decode(struct span frame, unsigned protocols, enum side from, struct message *m, size_t *used)
{
    struct error error;
    bool wants_fd;
    return message_decode(frame, protocols, from, m, used, &wants_fd, &error);
}

static void round_trip(void **state)
{
    (void)state;
    struct buf records = {0}, frame = {0};
    struct message in = a_put(&records), out;
    size_t used;
    assert_true(message_encode(&frame, &in));
    assert_int_equal(decode(buf_span(&frame), 1u << PROTOCOL_SMTPD_QMGR, SIDE_CLIENT, &out, &used), 1);
    assert_int_equal(used, frame.len);
    assert_int_equal(out.type, MESSAGE_PUT);
    assert_int_equal(out.id, 7);
    assert_true(out.put.id == in.put.id);
    assert_true(span_equal(out.put.sender, in.put.sender));
    assert_true(span_equal(out.put.body, in.put.body));
    assert_int_equal(out.put.flags, ENVELOPE_8BIT);
    struct record_recipient r;
    struct list l = out.put.recipients;
    assert_true(record_recipient_next(&l, &r));
    assert_true(span_equal(r.original, SPAN_LITERAL("alias@example.org")));
    assert_int_equal(r.notify, NOTIFY_DELAY);
    assert_true(record_recipient_next(&l, &r));
    assert_true(span_equal(r.transport, SPAN_LITERAL("local")));
    assert_false(record_recipient_next(&l, &r));
    buf_free(&records);
    buf_free(&frame);
}

static void every_shorter_frame_waits_or_is_refused(void **state)
{
    (void)state;
    struct buf records = {0}, frame = {0};
    struct message in = a_put(&records), out;
    size_t used;
    assert_true(message_encode(&frame, &in));
    for (size_t n = 0; n < frame.len; n++) {
        char *exact = malloc(n ? n : 1); /* so that a sanitizer sees a read past the end */
        memcpy(exact, frame.data, n);
        assert_int_equal(decode(span_make(exact, n), everything, SIDE_CLIENT, &out, &used), 0);
        free(exact);
    }
    for (size_t n = FRAME_HEADER; n < frame.len; n++) { /* the length tells less than the fields take */
        char *copy = malloc(n);
        memcpy(copy, frame.data, n);
        uint32_t length = (uint32_t)(n - FRAME_HEADER);
        memcpy(copy, &length, sizeof(length));
        assert_int_equal(decode(span_make(copy, n), everything, SIDE_CLIENT, &out, &used), -1);
        free(copy);
    }
    buf_free(&records);
    buf_free(&frame);
}

static void trailing_bytes_are_refused(void **state)
{
    (void)state;
    struct buf frame = {0};
    struct message in = {.type = MESSAGE_LEASE, .fd = -1, .lease = {.count = 5}}, out;
    size_t used;
    assert_true(message_encode(&frame, &in));
    buf_add_char(&frame, 'x');
    frame.data[0]++;
    assert_int_equal(decode(buf_span(&frame), everything, SIDE_CLIENT, &out, &used), -1);
    buf_free(&frame);
}

static void line_ends_in_a_text_stop_at_both_doors(void **state)
{
    (void)state;
    static const char *const bad[] = {"a\nb", "a\rb", "\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buf frame = {0};
        struct message in = {.type = MESSAGE_NAMED, .fd = -1, .named = {.name = span_of(bad[i])}};
        assert_false(message_encode(&frame, &in));
        assert_int_equal(frame.len, 0);
        assert_false(frame.failed);
        buf_free(&frame);
    }
    struct buf frame = {0};
    struct message in = {.type = MESSAGE_NAMED, .fd = -1, .named = {.name = SPAN_LITERAL("host")}}, out;
    size_t used;
    assert_true(message_encode(&frame, &in));
    assert_int_equal(decode(buf_span(&frame), everything, SIDE_SERVER, &out, &used), 1);
    for (const char *c = "\r\n"; ; c++) { /* and NUL, the last */
        frame.data[frame.len - 1] = *c;
        assert_int_equal(decode(buf_span(&frame), everything, SIDE_SERVER, &out, &used), -1);
        if (*c == '\0')
            break;
    }
    buf_free(&frame);
}

static void a_message_of_another_edge_or_side_is_refused(void **state)
{
    (void)state;
    struct buf frame = {0};
    struct message in = {.type = MESSAGE_ORDER, .fd = -1, .order = {.id = 5}}, out;
    size_t used;
    assert_true(message_encode(&frame, &in));
    assert_int_equal(decode(buf_span(&frame), 1u << PROTOCOL_ADMIN_QMGR, SIDE_CLIENT, &out, &used), 1);
    assert_int_equal(decode(buf_span(&frame), 1u << PROTOCOL_ADMIN_QMGR, SIDE_SERVER, &out, &used), -1);
    assert_int_equal(decode(buf_span(&frame), 1u << PROTOCOL_SMTPD_QMGR, SIDE_CLIENT, &out, &used), -1);
    buf_free(&frame);
}

static void headers_that_lie_are_refused(void **state)
{
    (void)state;
    struct message out;
    size_t used;
    static const unsigned char too_long[FRAME_HEADER] = {0xff, 0xff, 0xff, 0xff, MESSAGE_LEASE};
    static const unsigned char no_type[FRAME_HEADER] = {4, 0, 0, 0, 0xff, 0xff};
    static const unsigned char stray_descriptor[FRAME_HEADER + 4] = {4, 0, 0, 0, MESSAGE_LEASE, 0, 1};
    assert_int_equal(decode(span_make(too_long, sizeof(too_long)), everything, SIDE_CLIENT, &out, &used), -1);
    assert_int_equal(decode(span_make(no_type, sizeof(no_type)), everything, SIDE_CLIENT, &out, &used), -1);
    assert_int_equal(decode(span_make(stray_descriptor, sizeof(stray_descriptor)), everything, SIDE_CLIENT, &out, &used), -1);
}

static void lists_that_lie_are_refused(void **state)
{
    (void)state;
    struct buf records = {0};
    struct message in = a_put(&records), out;
    size_t used;
    for (uint32_t count = 0; count < 6; count++) {
        struct buf frame = {0};
        in.put.recipients.count = count;
        assert_true(message_encode(&frame, &in));
        assert_int_equal(decode(buf_span(&frame), everything, SIDE_CLIENT, &out, &used), count == 2 ? 1 : -1);
        buf_free(&frame);
    }
    buf_free(&records);
}

static void what_is_longer_than_a_frame_is_not_encoded(void **state)
{
    (void)state;
    struct buf frame = BUF_EMPTY(FRAME_MAX * 2);
    char *huge = calloc(1, FRAME_MAX);
    struct message in = {.type = MESSAGE_APPEND, .fd = -1, .append = {.piece = span_make(huge, FRAME_MAX)}};
    assert_false(message_encode(&frame, &in));
    assert_int_equal(frame.len, 0);
    in.append.piece.n = FRAME_MAX - 64;
    assert_true(message_encode(&frame, &in));
    free(huge);
    buf_free(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(every_shorter_frame_waits_or_is_refused),
        cmocka_unit_test(trailing_bytes_are_refused),
        cmocka_unit_test(line_ends_in_a_text_stop_at_both_doors),
        cmocka_unit_test(a_message_of_another_edge_or_side_is_refused),
        cmocka_unit_test(headers_that_lie_are_refused),
        cmocka_unit_test(lists_that_lie_are_refused),
        cmocka_unit_test(what_is_longer_than_a_frame_is_not_encoded),
    };
    return cmocka_run_group_tests_name("messages", tests, NULL, NULL);
}
