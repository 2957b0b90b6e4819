/* Lines of Dovecot's authentication server, taken apart. */
#include "auth/dovecot_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void lines(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        enum dovecot_kind kind;
        uint32_t id;
        const char *user, *data;
        bool temporary;
    } table[] = {
        {"VERSION\t1\t2", DOVECOT_VERSION, 1, "", "", false},
        {"VERSION\tx", DOVECOT_BAD, 0, "", "", false},
        {"VERSION", DOVECOT_BAD, 0, "", "", false},
        {"SPID\t17", DOVECOT_OTHER, 0, "", "", false},
        {"", DOVECOT_OTHER, 0, "", "", false},
        {"\t\t", DOVECOT_OTHER, 0, "", "", false},
        {"DONE", DOVECOT_DONE, 0, "", "", false},
        {"OK\t7\tuser=ann\toriginal_user=x", DOVECOT_OK, 7, "ann", "", false},
        {"OK\t7", DOVECOT_OK, 7, "", "", false},
        {"OK\t4294967295", DOVECOT_OK, 4294967295u, "", "", false},
        {"OK\t4294967296", DOVECOT_BAD, 0, "", "", false},
        {"OK\t18446744073709551617", DOVECOT_BAD, 0, "", "", false},
        {"OK\t", DOVECOT_BAD, 0, "", "", false},
        {"OK\t-1\tuser=ann", DOVECOT_BAD, 0, "", "", false},
        {"OK", DOVECOT_BAD, 0, "", "", false},
        {"ok\t7", DOVECOT_OTHER, 0, "", "", false},
        {"FAIL\t8\tuser=ann", DOVECOT_FAIL, 8, "ann", "", false},
        {"FAIL\t8\ttemp", DOVECOT_FAIL, 8, "", "", true},
        {"FAIL\t8\tuser=ann\tcode=temp_fail", DOVECOT_FAIL, 8, "ann", "", true},
        {"FAIL\t8\tuser=temp\tcode=user_disabled", DOVECOT_FAIL, 8, "temp", "", false},
        {"CONT\t9\tAAAA", DOVECOT_CONTINUE, 9, "", "AAAA", false},
        {"CONT\t9\t", DOVECOT_CONTINUE, 9, "", "", false},
        {"CONT\t9", DOVECOT_BAD, 0, "", "", false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct dovecot_reply r;
        dovecot_reply_parse(span_of(table[i].line), &r);
        if (r.kind != table[i].kind)
            fail_msg("%s: kind %d", table[i].line, (int)r.kind);
        if (r.kind == DOVECOT_BAD)
            continue;
        assert_int_equal(r.id, table[i].id);
        assert_true(span_equal(r.user, span_of(table[i].user)));
        assert_true(span_equal(r.data, span_of(table[i].data)));
        assert_int_equal(r.temporary, table[i].temporary);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
