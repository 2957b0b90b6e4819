/* What postino shows on a terminal: nothing of a stranger's that a terminal obeys. */
#include "admin/queue_print.h"
#include "common/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static char *shown;
static size_t shown_size;

static const char *text(struct span s)
{
    free(shown);
    FILE *out = open_memstream(&shown, &shown_size);
    assert_non_null(out);
    queue_print_text(out, s);
    (void)fclose(out);
    return shown;
}

static void controls_are_not_shown(void **state)
{
    (void)state;
    assert_string_equal(text(span_of("plain <a@b.example>")), "plain <a@b.example>");
    assert_string_equal(text(span_of("\x1b[2J\r\n\t\x7f")), "?[2J????");
    assert_string_equal(text(span_make("a\0b", 3)), "a?b");
}

/* U+009B is CSI, U+0085 a new line: a terminal obeys them as it does ESC [. */
static void c1_controls_are_not_shown(void **state)
{
    (void)state;
    for (unsigned c = 0x80; c < 0xa0; c++) {
        char control[] = {'x', (char)0xc2, (char)c, '2', 'J', '\0'};
        assert_null(strchr(text(span_of(control)), (char)c));
    }
    assert_string_equal(text(span_of("gr\xc3\xbc\xc3\x9f"
                                     "e \xc2\xa0 \xe2\x82\xac")),
                        "gr\xc3\xbc\xc3\x9f"
                        "e \xc2\xa0 \xe2\x82\xac");
}

/* Alone they are controls in other character sets, and half of a character here. */
static void c1_octets_alone_are_not_shown(void **state)
{
    (void)state;
    assert_string_equal(text(span_of("\x9b"
                                     "2J")),
                        "?2J");
    assert_string_equal(text(span_of("\xff\x80\xc2")), "???");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(controls_are_not_shown),
        cmocka_unit_test(c1_controls_are_not_shown),
        cmocka_unit_test(c1_octets_alone_are_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
