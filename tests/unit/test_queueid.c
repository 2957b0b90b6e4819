#include "common/queueid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void known_ids_have_known_texts(void **state)
{
    (void)state;
    assert_string_equal(queueid_format(0).text, "000000000000");
    assert_string_equal(queueid_format(31).text, "00000000000Z");
    assert_string_equal(queueid_format(32).text, "000000000010");
    assert_string_equal(queueid_format(QUEUEID_MAX).text, "ZZZZZZZZZZZZ");
}

static void every_id_comes_back(void **state)
{
    (void)state;
    uint64_t id = 1;
    for (int i = 0; i < 10000; i++) {
        id = (id * UINT64_C(6364136223846793005) + 1442695040888963407U) & QUEUEID_MAX;
        uint64_t back = 0;
        assert_true(queueid_parse(span_of(queueid_format(id).text), &back));
        assert_int_equal(back, id);
    }
}

static void names_sort_as_numbers(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint64_t id = 1; id < QUEUEID_MAX / 3; id = id * 3 + 1) {
        assert_true(strcmp(queueid_format(before).text, queueid_format(id).text) < 0);
        before = id;
    }
}

static void refused(const char *text, size_t n)
{
    uint64_t id = 4711;
    assert_false(queueid_parse(span_make(text, n), &id));
    assert_int_equal(id, 4711);
}

static void only_what_format_writes_is_an_id(void **state)
{
    (void)state;
    refused(NULL, 0);
    refused("00000000000", 11);
    refused("0000000000000", 13);
    refused("00000000000z", 12); /* one id, one name */
    refused("00000000000I", 12);
    refused("00000000000L", 12);
    refused("00000000000O", 12);
    refused("00000000000U", 12);
    refused("../../../etc", 12);
    refused("00000000000\0", 12);
    refused("00000000000\xff", 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_ids_have_known_texts),
        cmocka_unit_test(every_id_comes_back),
        cmocka_unit_test(names_sort_as_numbers),
        cmocka_unit_test(only_what_format_writes_is_an_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
