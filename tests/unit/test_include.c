/* include: the text of another file takes part, and what is wrong with it is told by that file's name and line. */
#include "conf/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test_include.XXXXXX";

static const char *at(const char *name)
{
    static char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(at(name), 0644), 0);
}

static struct settings *parse(const char *text, struct report *r)
{
    *r = (struct report){0};
    put("postino.conf", text);
    static char path[200];
    snprintf(path, sizeof path, "%s", at("postino.conf"));
    return parse_file(path, PARSE_FILE, r);
}

static void what_an_included_file_says_holds(void **state)
{
    (void)state;
    struct report r;
    char text[500];
    put("a.conf", "queue { site_rate = 7 }\nlimit {\n hops = 9\n}");
    put("b.conf", "queue { site_sessions = 8 }\n");
    snprintf(text, sizeof text, "hostname = a.example\n \t include 'a.conf' # here\ninclude \"%s\"\nrelay_to = x.example", at("b.conf"));
    struct settings *s = parse(text, &r);
    if (!s)
        fail_msg("%s", buf_text(&r.errors));
    assert_true(s->queue_site_rate == 7 && s->queue_site_sessions == 8 && s->limit_hops == 9 && s->relay_to.n == 1);
    assert_int_equal(r.given, 5);
    settings_free(s);
    report_free(&r);
}

/* The error's line is "DIR/FILE:LINE: ..." and has all the words that | parts. */
static void wrong(const char *text, const char *file, unsigned line, const char *words)
{
    struct report r;
    char where[300], copy[300], *rest = copy;
    struct settings *s = parse(text, &r);
    if (s)
        fail_msg("taken: %s", text);
    snprintf(where, sizeof where, "%s/%s:%u: ", dir, file, line);
    const char *said = strstr(buf_text(&r.errors), where);
    bool file_fails = strstr(buf_text(&r.errors), "can't be had, see above"); /* then the line that includes it is told, too */
    if (!said || r.error_count != 1u + file_fails)
        fail_msg("%zu errors: %s(wanted: %s)", r.error_count, buf_text(&r.errors), where);
    snprintf(copy, sizeof copy, "%s", words);
    for (char *word; (word = strsep(&rest, "|"));)
        if (!strstr(said, word))
            fail_msg("no %s in: %s", word, said);
    report_free(&r);
}

#define H "hostname = a.example\n"

static void an_error_has_the_file_and_line_where_it_is(void **state)
{
    (void)state;
    put("a.conf", "\nqueue { site_rte = 7 }\n");
    wrong(H "include \"a.conf\"\n", "a.conf", 2, "no setting site_rte|site_rate");
    put("a.conf", "\n\nqueue { site_rate = x }\n");
    wrong(H "include \"a.conf\"\n", "a.conf", 3, "site_rate");
    put("a.conf", "# nothing\n\n");
    wrong(H "include \"a.conf\"\n\nqueue { site_rte = 7 }\n", "postino.conf", 4, "site_rte");
    wrong("include \"a.conf\"\ninclude \"a.conf\"\n" H "listener smtp { address = x }\n", "postino.conf", 4, "address \"x\"");
    put("a.conf", "queue {\n");
    wrong(H "include \"a.conf\"\n", "a.conf", 1, "never closed|postino.conf:2: include|see above");
    put("a.conf", "}\n");
    wrong(H "include \"a.conf\"\n", "a.conf", 1, "a } without|postino.conf:2: include");
    put("a.conf", "queue { site_rate = 1 }\n");
    wrong(H "include \"a.conf\"\nqueue { site_rate = 2 }\n", "postino.conf", 3, "site_rate is set a second time");
}

static void what_is_there_twice_is_told_with_both_places(void **state)
{
    (void)state;
    put("a.conf", "\nsite mx.example { rate = 1 }\n");
    wrong("site mx.example { rate = 1 }\ninclude \"a.conf\"\n" H, "a.conf", 2,
          "site \"mx.example\" is there a second time|first in line 1 of |postino.conf)");
    wrong("include \"a.conf\"\n" H "site mx.example { rate = 1 }\n", "postino.conf", 3, "a second time|first in line 2 of |a.conf)");
    wrong(H "site mx.example { rate = 1 }\nsite mx.example { rate = 1 }\n", "postino.conf", 3, "a second time (first in line 2); make");
}

static void an_include_that_is_none_is_refused(void **state)
{
    (void)state;
    put("a.conf", "");
    wrong(H "include = \"a.conf\"\n", "postino.conf", 2, "include is not followed by one name in quotes|include \"shaping.conf\"");
    wrong(H "include a.conf\n", "postino.conf", 2, "quotes");
    wrong(H "include\n\"a.conf\"\n", "postino.conf", 2, "quotes");
    wrong(H "include \"a.conf\" relay_to = x.example\n", "postino.conf", 2, "in a line of its own");
    wrong(H "include \"\"\n", "postino.conf", 2, "quotes");
    wrong(H "include \"nowhere.conf\"\n", "postino.conf", 2, "nowhere.conf\" can't be had, see above");
    wrong(H "limit { hops = 30\ninclude \"a.conf\"\n}\n", "postino.conf", 3, "include");
}

static void an_included_file_includes_none(void **state)
{
    (void)state;
    put("a.conf", "\n include \"b.conf\"\n");
    put("b.conf", "");
    wrong(H "include \"a.conf\"\n", "a.conf", 2, "include in a file that is included");
    put("a.conf", "include \"a.conf\"\n");
    wrong(H "include \"a.conf\"\n", "a.conf", 1, "include in a file that is included");
}

/* Who can write it could have anything started, as with postino.conf itself. */
static void an_included_file_that_others_can_write_is_refused(void **state)
{
    (void)state;
    struct report r;
    put("a.conf", "");
    assert_int_equal(chmod(at("a.conf"), 0664), 0);
    assert_null(parse(H "include \"a.conf\"\n", &r));
    assert_non_null(strstr(buf_text(&r.errors), "/a.conf: can be written by others"));
    report_free(&r);
}

static void names_like_include_are_names(void **state)
{
    (void)state;
    put("a.conf", "");
    wrong(H "includes = 3\n", "postino.conf", 2, "no setting includes");
}

/* A command that looks for the running Postino must not be led to another one's. */
static void where_postino_runs_is_in_doubt_or_not(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool doubt;
    } rows[] = {{H "directory { run = \"/run/postino\" }\nnonsense = 1\n", false},
                {H "directory { run = \"/run/b\" }\ninclude \"none.conf\"\n", false},
                {H "nonsense = 1\n# run = \"/run/b\"\n", false},
                {H "include \"none.conf\"\n", true},
                {H "directory { run = \"relative\" }\n", true},
                {H "directory { spool = \"/var/a#b\" run = \"relative\" }\n", true},
                {H "directoy { run = \"/run/b\" }\n", true},
                {H "directory { run = \"/run/b\" }\n", false}};
    put("postino.conf", "");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct report r = {0};
        put("postino.conf", rows[i].text);
        struct settings *s = parse_file(at("postino.conf"), PARSE_WHAT_IS_GOOD, &r);
        if (r.run_in_doubt != rows[i].doubt)
            fail_msg("%s", rows[i].text);
        settings_free(s);
        report_free(&r);
    }
}

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    static const char *const names[] = {"postino.conf", "a.conf", "b.conf"};
    for (size_t i = 0; i < 3; i++)
        unlink(at(names[i]));
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_an_included_file_says_holds),
        cmocka_unit_test(an_error_has_the_file_and_line_where_it_is),
        cmocka_unit_test(what_is_there_twice_is_told_with_both_places),
        cmocka_unit_test(an_include_that_is_none_is_refused),
        cmocka_unit_test(an_included_file_includes_none),
        cmocka_unit_test(an_included_file_that_others_can_write_is_refused),
        cmocka_unit_test(names_like_include_are_names),
        cmocka_unit_test(where_postino_runs_is_in_doubt_or_not),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
