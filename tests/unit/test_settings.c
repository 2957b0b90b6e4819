/* The table, values and slices. */
#include "conf/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const char letters[] = "MSAQRLDOTPC";

static const struct setting *global(const char *section, const char *name)
{
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].section, section) == 0 && strcmp(settings_table[i].name, name) == 0)
            return &settings_table[i];
    fail_msg("no setting %s %s", section, name);
    return NULL;
}

static int assign(struct settings *s, const char *section, const char *name, const char *text, struct error *e)
{
    return setting_assign(global(section, name), s, span_of(text), e);
}

static bool same_value(const struct setting *s, const void *a, const void *b)
{
    struct buf text[2] = {{0}, {0}};
    setting_format(s, a, &text[0]);
    setting_format(s, b, &text[1]);
    bool same = span_equal(buf_span(&text[0]), buf_span(&text[1]));
    buf_free(&text[0]);
    buf_free(&text[1]);
    return same;
}

/* ---- the table ---------------------------------------------------------------------------------------------------------------------- */

static void every_default_is_what_its_table_says(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    for (size_t i = 0; i < settings_count; i++)
        assert_true(setting_is_default(&settings_table[i], s));
    assert_int_equal(s->queue_lifetime, 5 * 86400);
    assert_int_equal(s->limit_message_size, 50u << 20);
    assert_int_equal(s->relay_from.n, 2);
    assert_string_equal(s->relay_from.v[1], "::1");
    assert_true(s->dns_client_names);
    assert_false(s->remote_loopback);
    assert_int_equal(s->log_level, LOG_LEVELS_INFO);
    assert_string_equal(s->hostname, "");
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++) {
        void *object = settings_append(s, kind, SPAN_LITERAL("title"));
        for (size_t i = 0; i < settings_sections[kind].count; i++)
            assert_true(setting_is_default(&settings_sections[kind].table[i], object));
    }
    settings_free(s);
}

static void lists_in_titled_sections_are_empty_by_default(void **state) /* parse_confuse.c relies on it */
{
    (void)state;
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        for (size_t i = 0; i < settings_sections[kind].count; i++)
            if (settings_sections[kind].table[i].type == SETTING_LIST)
                assert_string_equal(settings_sections[kind].table[i].dflt, "");
}

static const struct setting *titled(enum settings_kind kind, const char *name)
{
    const struct setting *table = settings_sections[kind].table;
    for (size_t i = 0; i < settings_sections[kind].count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    fail_msg("no setting %s", name);
    return NULL;
}

static void enums_name_the_words_of_the_table(void **state)
{
    (void)state;
    const struct setting *tls = titled(SETTINGS_LISTENERS, "tls");
    assert_true(span_equal(setting_word(tls, LISTENER_TLS_IMPLICIT), SPAN_LITERAL("implicit")));
    assert_true(span_equal(setting_word(titled(SETTINGS_LISTENERS, "auth"), LISTENER_AUTH_REQUIRED), SPAN_LITERAL("required")));
    assert_true(span_equal(setting_word(titled(SETTINGS_LISTENERS, "priority"), LISTENER_PRIORITY_LOW), SPAN_LITERAL("low")));
    assert_true(span_equal(setting_word(titled(SETTINGS_ROUTES, "tls"), TLSPOLICY_VERIFY), SPAN_LITERAL("verify")));
    assert_true(span_equal(setting_word(global("log", "level"), LOG_LEVELS_DEBUG), SPAN_LITERAL("debug")));
    assert_true(span_equal(setting_word(global("remote", "address_family"), FAMILY_IPV6), SPAN_LITERAL("ipv6")));
    assert_true(span_equal(setting_word(global("limit", "bare_newline"), BARE_NORMALIZE), SPAN_LITERAL("normalize")));
    assert_true(span_equal(setting_word(global("limit", "nul"), NUL_REFUSE), SPAN_LITERAL("refuse")));
    assert_true(span_equal(setting_word(global("smtpd", "greet_action"), GREET_DROP), SPAN_LITERAL("drop")));
    assert_true(span_equal(setting_word(global("smtpd", "pipelining"), PIPELINING_DROP), SPAN_LITERAL("drop")));
    assert_int_equal(setting_word(tls, 4).n, 0);
}

/* ---- values -------------------------------------------------------------------------------------------------------------------------- */

static void units_multiply(void **state)
{
    (void)state;
    static const struct {
        const char *section, *name, *text, *back;
        uint64_t value;
    } good[] = {
        {"limit", "message_size", "2048", "2K", 2048},
        {"limit", "message_size", "1G", "1G", 1u << 30},
        {"limit", "message_size", "1025k", "1025K", 1025 << 10},
        {"queue", "lifetime", "1w", "1w", 604800},
        {"queue", "lifetime", "8d", "8d", 8 * 86400},
        {"queue", "lifetime", "90s", "90s", 90},
        {"queue", "lifetime", "120", "2m", 120},
        {"queue", "retry_first", "24H", "1d", 86400},
        {"stop", "", "", "", 0},
    };
    struct settings *s = settings_new();
    struct error e;
    for (size_t i = 0; *good[i].name; i++) {
        const struct setting *setting = global(good[i].section, good[i].name);
        struct buf text = {0};
        assert_int_equal(setting_assign(setting, s, span_of(good[i].text), &e), 0);
        assert_int_equal(*(uint64_t *)((char *)s + setting->offset), good[i].value);
        setting_format(setting, s, &text);
        assert_string_equal(buf_text(&text), good[i].back);
        buf_free(&text);
    }
    settings_free(s);
}

static void wrong_values_are_refused_and_change_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *section, *name, *text, *says;
    } bad[] = {
        {"limit", "message_size", "1023", "1K to 4G"},
        {"limit", "message_size", "5G", "1K to 4G"},
        {"limit", "message_size", "50MB", "not a size"},
        {"limit", "message_size", "", "not a size"},
        {"limit", "message_size", "-1", "not a size"},
        {"limit", "message_size", "17179869185G", "not a size"}, /* 2^64 and more */
        {"limit", "message_size", "18446744073709551616", "not a size"},
        {"limit", "message_size", "5 M", "not a size"},
        {"limit", "message_size", "0x10000", "not a size"},
        {"limit", "recipients", "1K", "not a number"},
        {"limit", "recipients", "99", "100 to 10000"},
        {"queue", "lifetime", "1y", "not a time"},
        {"queue", "lifetime", "0", "1s to 100d"},
        {"queue", "lifetime", "m", "not a time"},
        {"dns", "client_names", "maybe", "neither yes nor no"},
        {"dns", "client_names", "", "neither yes nor no"},
        {"log", "level", "verbose", "error|warning|info|debug"},
        {"log", "level", "inf", "no such word"},
        {"log", "to", "", "too short"},
        {"", "recipient_delimiter", "+-", "too long"},
        {"", "hostname", "a\nb", "control character"},
        {"", "password_file", "passwd", "absolute"},
        {"", "password_file", "", "empty"},
        {"", "relay_to", "", "empty item"},
        {"", "relay_to", "a\rb", "control character"},
    };
    struct settings *s = settings_new();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct setting *setting = global(bad[i].section, bad[i].name);
        struct error e = {""};
        assert_int_equal(setting_assign(setting, s, span_of(bad[i].text), &e), -1);
        if (!strstr(e.text, bad[i].says) || !strstr(e.text, bad[i].name) || !strstr(e.text, "; "))
            fail_msg("%s = \"%s\" says: %s", bad[i].name, bad[i].text, e.text);
        assert_true(setting_is_default(setting, s));
    }
    settings_free(s);
}

static void every_number_keeps_to_its_limits(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *setting = &settings_table[i];
        if (setting->type != SETTING_NUMBER && setting->type != SETTING_SIZE && setting->type != SETTING_TIME)
            continue;
        struct error e;
        for (int out = 0; out < 2; out++) {
            struct buf least = {0}, most = {0};
            buf_printf(&least, "%llu", (unsigned long long)setting->least - (unsigned)out);
            buf_printf(&most, "%llu", (unsigned long long)setting->most + (unsigned)out);
            if (!out || setting->least > 0)
                assert_int_equal(setting_assign(setting, s, buf_span(&least), &e), -out);
            assert_int_equal(setting_assign(setting, s, buf_span(&most), &e), -out);
            buf_free(&least);
            buf_free(&most);
        }
    }
    settings_free(s);
}

static void flags_take_all_their_words(void **state)
{
    (void)state;
    static const char *const words[] = {"yes", "true", "on", "no", "false", "off"};
    struct settings *s = settings_new();
    struct error e;
    for (size_t i = 0; i < 6; i++) {
        s->remote_loopback = i >= 3;
        assert_int_equal(assign(s, "remote", "loopback", words[i], &e), 0);
        assert_int_equal(s->remote_loopback, i < 3);
    }
    settings_free(s);
}

static void texts_are_quoted_as_the_file_wants_them(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct error e;
    struct buf text = {0};
    assert_int_equal(assign(s, "", "hostname", "a\"b\\c", &e), 0);
    setting_format(global("", "hostname"), s, &text);
    assert_string_equal(buf_text(&text), "\"a\\\"b\\\\c\"");
    buf_clear(&text);
    setting_format(global("", "relay_from"), s, &text);
    assert_string_equal(buf_text(&text), "{ \"127.0.0.0/8\", \"::1\" }");
    buf_clear(&text);
    setting_format(global("", "relay_to"), s, &text);
    assert_string_equal(buf_text(&text), "{}");
    buf_free(&text);
    settings_free(s);
}

/* ---- slices -------------------------------------------------------------------------------------------------------------------- */

/* A value that is not the default. */
static void change(const struct setting *s, void *object)
{
    struct error e;
    struct buf text = {0};
    switch (s->type) {
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        buf_printf(&text, "%llu", (unsigned long long)s->most);
        if (setting_assign(s, object, buf_span(&text), &e) == 0 && setting_is_default(s, object)) {
            buf_clear(&text);
            buf_printf(&text, "%llu", (unsigned long long)s->least);
        }
        break;
    case SETTING_FLAG:
        buf_add_text(&text, strcmp(s->dflt, "yes") == 0 ? "no" : "yes");
        break;
    case SETTING_CHOICE:
        buf_add_span(&text, setting_word(s, setting_words(s->words) - 1));
        break;
    case SETTING_TEXT:
    case SETTING_LIST:
        buf_add_text(&text, "-");
        break;
    case SETTING_PATH:
        buf_add_text(&text, "/changed");
        break;
    }
    assert_int_equal(setting_assign(s, object, buf_span(&text), &e), 0);
    buf_free(&text);
}

static struct settings *all_changed(void)
{
    struct settings *s = settings_new();
    for (size_t i = 0; i < settings_count; i++)
        change(&settings_table[i], s);
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++) {
        assert_non_null(settings_append(s, kind, SPAN_LITERAL("plain.example")));
        void *object = settings_append(s, kind, SPAN_LITERAL("changed.example"));
        for (size_t i = 0; i < settings_sections[kind].count; i++)
            change(&settings_sections[kind].table[i], object);
    }
    return s;
}

static void check_sections(const struct settings *sent, const struct settings *got, char letter)
{
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++) {
        const struct settings_section *section = &settings_sections[kind];
        bool wanted = strchr(section->programs, letter);
        assert_int_equal(settings_total(got, kind), wanted ? 2 : 0);
        for (size_t n = 0; n < settings_total(got, kind); n++) {
            assert_string_equal(*(char **)settings_nth(got, kind, n), *(char **)settings_nth(sent, kind, n));
            for (size_t i = 0; i < section->count; i++)
                assert_true(same_value(&section->table[i], settings_nth(sent, kind, n), settings_nth(got, kind, n)));
        }
    }
}

static void each_program_gets_what_is_its_own_and_nothing_else(void **state)
{
    (void)state;
    struct settings *sent = all_changed();
    for (const char *letter = letters; *letter; letter++) {
        struct buf slice = {0};
        struct error e = {""};
        settings_encode(sent, *letter, &slice);
        struct settings *got = settings_decode(buf_span(&slice), &e);
        assert_string_equal(e.text, "");
        assert_non_null(got);
        for (size_t i = 0; i < settings_count; i++) {
            const struct setting *s = &settings_table[i];
            if (strchr(s->programs, *letter))
                assert_true(same_value(s, sent, got));
            else
                assert_true(setting_is_default(s, got));
        }
        check_sections(sent, got, *letter);
        settings_free(got);
        buf_free(&slice);
    }
    settings_free(sent);
}

static void smtpd_sees_no_password_file_and_no_domain(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct error e;
    struct buf slice = {0};
    assert_int_equal(assign(s, "", "password_file", "/secret/place", &e), 0);
    assert_non_null(settings_append(s, SETTINGS_DOMAINS, SPAN_LITERAL("secret.example")));
    settings_encode(s, 'S', &slice);
    assert_null(memmem(slice.data, slice.len, "secret", 6));
    buf_free(&slice);
    settings_free(s);
}

static void empty_settings_survive(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct error e;
    struct buf slice = {0};
    setting_clear(global("", "relay_from"), s);
    assert_int_equal(assign(s, "", "recipient_delimiter", "", &e), 0);
    settings_encode(s, 'O', &slice);
    struct settings *got = settings_decode(buf_span(&slice), &e);
    assert_int_equal(got->relay_from.n, 0);
    assert_string_equal(got->recipient_delimiter, "");
    settings_free(got);
    settings_free(s);
    buf_free(&slice);
}

static void a_slice_that_is_cut_or_longer_is_refused(void **state)
{
    (void)state;
    struct settings *s = all_changed();
    for (const char *letter = letters; *letter; letter++) {
        struct buf slice = {0};
        struct error e;
        settings_encode(s, *letter, &slice);
        for (size_t n = 0; n < slice.len; n++)
            assert_null(settings_decode(span_make(slice.data, n), &e));
        buf_add_char(&slice, '\0');
        assert_null(settings_decode(buf_span(&slice), &e));
        assert_non_null(strstr(e.text, "too many"));
        buf_free(&slice);
    }
    settings_free(s);
}

static bool in_limits(const struct setting *s, const void *object)
{
    const char *m = (const char *)object + s->offset;
    switch (s->type) {
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        return *(const uint64_t *)m >= s->least && *(const uint64_t *)m <= s->most;
    case SETTING_CHOICE:
        return *(const int *)m >= 0 && (size_t) * (const int *)m < setting_words(s->words);
    case SETTING_FLAG:
        return *(const unsigned char *)m <= 1;
    case SETTING_TEXT:
        return strlen(*(char *const *)m) <= (s->most ? s->most : SETTING_TEXT_MOST);
    case SETTING_PATH:
        return **(char *const *)m == '/' || **(char *const *)m == '\0';
    case SETTING_LIST:
        return true;
    }
    return false;
}

static void a_damaged_slice_is_refused_or_gives_values_in_their_limits(void **state)
{
    (void)state;
    struct settings *s = all_changed();
    struct buf slice = {0};
    struct error e;
    settings_encode(s, 'S', &slice);
    size_t refused = 0;
    for (size_t i = 0; i < slice.len; i++)
        for (int bit = 0; bit < 8; bit++) {
            slice.data[i] = (char)(slice.data[i] ^ 1 << bit);
            struct settings *got = settings_decode(buf_span(&slice), &e);
            refused += !got;
            for (size_t k = 0; got && k < settings_count; k++)
                assert_true(in_limits(&settings_table[k], got));
            settings_free(got);
            slice.data[i] = (char)(slice.data[i] ^ 1 << bit);
        }
    assert_in_range(refused, slice.len * 2, slice.len * 8);
    buf_free(&slice);
    settings_free(s);
}

/* The last octets of route's slice are the last route's settings: a choice, four lists or texts that are empty, and three numbers that are not given. */
static void a_choice_out_of_its_words_is_refused(void **state)
{
    (void)state;
    struct settings *s = settings_new(), *got;
    struct buf slice = {0};
    struct error e;
    assert_non_null(settings_append(s, SETTINGS_ROUTES, SPAN_LITERAL("*")));
    settings_encode(s, 'O', &slice);
    char *choice = slice.data + slice.len - 48;
    *choice = TLSPOLICY_VERIFY;
    assert_non_null(got = settings_decode(buf_span(&slice), &e));
    assert_int_equal(got->routes[0].tls, TLSPOLICY_VERIFY);
    settings_free(got);
    *choice = TLSPOLICY_FINGERPRINT + 1;
    assert_null(settings_decode(buf_span(&slice), &e));
    assert_non_null(strstr(e.text, "tls has the value 7"));
    buf_free(&slice);
    settings_free(s);
}

static void a_number_without_a_default_is_given_or_not(void **state)
{
    (void)state;
    struct settings *s = settings_new(), *got;
    struct buf slice = {0};
    struct error e;
    struct settings_site *site = settings_append(s, SETTINGS_SITES, SPAN_LITERAL("mx.example"));
    assert_non_null(site);
    assert_true(site->rate == SETTING_NOT_GIVEN && site->sessions == SETTING_NOT_GIVEN);
    assert_false(setting_is_given(&settings_site_table[1], site));
    assert_int_equal(setting_assign(&settings_site_table[1], site, SPAN_LITERAL("0"), &e), 0);
    assert_true(setting_is_given(&settings_site_table[1], site));
    assert_int_equal(setting_assign(&settings_site_table[0], site, SPAN_LITERAL("18446744073709551615"), &e), -1);
    settings_encode(s, 'Q', &slice);
    assert_non_null(got = settings_decode(buf_span(&slice), &e));
    assert_int_equal(got->site_count, 1);
    assert_true(got->sites[0].rate == 0 && got->sites[0].sessions == SETTING_NOT_GIVEN);
    settings_free(got);
    slice.data[slice.len - 24 - 4 - 8 - 4 - 4] = 0; /* sessions (behind it: two numbers, an empty list, a flag, no replies, no sources): no longer all ones, nor in its limits */
    assert_null(settings_decode(buf_span(&slice), &e));
    assert_non_null(strstr(e.text, "sessions has the value"));
    buf_free(&slice);
    settings_free(s);
}

static void the_route_of_a_domain_is_the_most_specific(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"a.example", "a.example"},        {"A.EXAMPLE", "a.example"}, {"x.a.example", ".a.example"},
                                           {"y.x.a.example", ".x.a.example"}, {"other.example", "*"},     {"", "*"}};
    struct settings *s = settings_new();
    static const char *const titles[] = {"*", ".a.example", "a.example", ".x.a.example"};
    for (size_t i = 0; i < 4; i++)
        assert_non_null(settings_append(s, SETTINGS_ROUTES, span_of(titles[i])));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(settings_route(s, span_of(cases[i][0]))->title, cases[i][1]);
    settings_free(s);
    s = settings_new();
    assert_null(settings_route(s, SPAN_LITERAL("a.example")));
    settings_free(s);
}

static void a_slice_of_another_version_says_so(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    struct buf slice = {0};
    struct error e;
    settings_encode(s, 'D', &slice);
    slice.data[0] ^= 1;
    assert_null(settings_decode(buf_span(&slice), &e));
    assert_non_null(strstr(e.text, "another version"));
    slice.data[0] ^= 1;
    slice.data[4] = 'x';
    assert_null(settings_decode(buf_span(&slice), &e));
    buf_free(&slice);
    settings_free(s);
}

static void sections_are_found_by_title(void **state)
{
    (void)state;
    struct settings *s = settings_new();
    assert_non_null(settings_append(s, SETTINGS_LISTENERS, SPAN_LITERAL("smtp")));
    assert_non_null(settings_append(s, SETTINGS_DOMAINS, SPAN_LITERAL("example.org")));
    assert_ptr_equal(settings_listener(s, SPAN_LITERAL("smtp")), &s->listeners[0]);
    assert_null(settings_listener(s, SPAN_LITERAL("SMTP")));
    assert_ptr_equal(settings_domain(s, SPAN_LITERAL("Example.ORG")), &s->domains[0]);
    assert_null(settings_domain(s, SPAN_LITERAL("example.or")));
    settings_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_what_its_table_says),
        cmocka_unit_test(lists_in_titled_sections_are_empty_by_default),
        cmocka_unit_test(enums_name_the_words_of_the_table),
        cmocka_unit_test(units_multiply),
        cmocka_unit_test(wrong_values_are_refused_and_change_nothing),
        cmocka_unit_test(every_number_keeps_to_its_limits),
        cmocka_unit_test(flags_take_all_their_words),
        cmocka_unit_test(texts_are_quoted_as_the_file_wants_them),
        cmocka_unit_test(each_program_gets_what_is_its_own_and_nothing_else),
        cmocka_unit_test(smtpd_sees_no_password_file_and_no_domain),
        cmocka_unit_test(empty_settings_survive),
        cmocka_unit_test(a_slice_that_is_cut_or_longer_is_refused),
        cmocka_unit_test(a_damaged_slice_is_refused_or_gives_values_in_their_limits),
        cmocka_unit_test(a_choice_out_of_its_words_is_refused),
        cmocka_unit_test(a_number_without_a_default_is_given_or_not),
        cmocka_unit_test(the_route_of_a_domain_is_the_most_specific),
        cmocka_unit_test(a_slice_of_another_version_says_so),
        cmocka_unit_test(sections_are_found_by_title),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
