/* Whose a local recipient's mailbox is: what a hostile mailbox name can't do, and who never gets mail. */
#include "delivery/mailbox.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

static struct settings *settings;

/* ---- a user database that counts, and a clock ------------------------------------------------------------------------------------- */

static int asked;
static time_t later;

int __real_getpwnam_r(const char *, struct passwd *, char *, size_t, struct passwd **);
int __real_getpwuid_r(uid_t, struct passwd *, char *, size_t, struct passwd **);
int __real_clock_gettime(clockid_t, struct timespec *);
int __wrap_getpwnam_r(const char *, struct passwd *, char *, size_t, struct passwd **);
int __wrap_getpwuid_r(uid_t, struct passwd *, char *, size_t, struct passwd **);
int __wrap_clock_gettime(clockid_t, struct timespec *);

int __wrap_getpwnam_r(const char *name, struct passwd *pw, char *room, size_t n, struct passwd **found)
{
    asked++;
    return __real_getpwnam_r(name, pw, room, n, found);
}

int __wrap_getpwuid_r(uid_t uid, struct passwd *pw, char *room, size_t n, struct passwd **found)
{
    asked++;
    return __real_getpwuid_r(uid, pw, room, n, found);
}

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
    int status = __real_clock_gettime(id, t);
    t->tv_sec += later;
    return status;
}

/* ---- settings --------------------------------------------------------------------------------------------------------------------- */

static void set(struct settings_domain *d, const char *name, const char *value)
{
    struct error error;
    for (size_t i = 0; i < settings_domain_settings; i++)
        if (strcmp(settings_domain_table[i].name, name) == 0)
            assert_int_equal(setting_assign(&settings_domain_table[i], d, span_of(value), &error), 0);
}

static void add(const char *title, const char *mailboxes, const char *directory, const char *owner)
{
    struct settings_domain *d = settings_append(settings, SETTINGS_DOMAINS, span_of(title));
    assert_non_null(d);
    set(d, "mailboxes", mailboxes);
    if (directory)
        set(d, "directory", directory);
    if (owner)
        set(d, "owner", owner);
}

static int setup(void **state)
{
    (void)state;
    settings = settings_new();
    assert_non_null(settings);
    add("system.example", "system", NULL, NULL);
    add("map.example", "hash:/etc/boxes", "/var/mail/map", "64520");
    add("rootmap.example", "hash:/etc/boxes", "/var/mail/map", "0");
    add("rootname.example", "hash:/etc/boxes", "/var/mail/map", "root");
    add("nobody.example", "hash:/etc/boxes", "/var/mail/map", NULL);
    add("ghost.example", "hash:/etc/boxes", "/var/mail/map", "no-such-user-here");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    settings_free(settings);
    return 0;
}

static void paths(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a/b", "example.org/alice/", "...", ".a", "a..b", "a b"};
    static const char *const bad[] = {"", "/", "/a", "a//b", "..", "a/..", "../a", "a/../b", ".", "a/./b", "a/\n", "\x01", "a\x7f", "a//"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!mailbox_path_ok(span_of(good[i])))
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (mailbox_path_ok(span_of(bad[i])))
            fail_msg("taken: %s", bad[i]);
    assert_false(mailbox_path_ok(SPAN_LITERAL("a\0b")));
    char deep[2000];
    memset(deep, 'a', sizeof deep);
    assert_false(mailbox_path_ok(span_make(deep, sizeof deep)));
    assert_false(mailbox_path_ok(span_make(deep, 256)));
}

static void find(const char *domain, const char *name, enum verdict verdict, const char *status, const char *words)
{
    struct mailbox m;
    struct local_outcome o;
    assert_int_equal(mailbox_find(settings, span_of(domain), span_of(name), false, &m, &o), -1);
    assert_int_equal(o.verdict, verdict);
    assert_string_equal(o.status, status);
    if (!strstr(o.words, words))
        fail_msg("\"%s\" is not in \"%s\"", words, o.words);
}

static void who_gets_none(void **state)
{
    (void)state;
    find("system.example", "root", VERDICT_DEFERRED, "4.3.5", "nothing is ever delivered as root");
    find("rootmap.example", "a", VERDICT_DEFERRED, "4.3.5", "nothing is ever delivered as root");
    find("rootname.example", "a", VERDICT_DEFERRED, "4.3.5", "nothing is ever delivered as root");
    find("nobody.example", "a", VERDICT_DEFERRED, "4.3.5", "no owner");
    find("ghost.example", "a", VERDICT_DEFERRED, "4.3.5", "no-such-user-here");
    find("system.example", "no-such-user-here", VERDICT_FAILED, "5.1.1", "no such user");
    find("other.example", "a", VERDICT_DEFERRED, "4.3.5", "no domain \"other.example\"");
    find("map.example", "../../etc", VERDICT_DEFERRED, "4.3.5", "no path below");
    find("map.example", "/etc", VERDICT_DEFERRED, "4.3.5", "no path below");
    find("map.example", "", VERDICT_DEFERRED, "4.3.5", "no mailbox");
}

static void who_gets_one(void **state)
{
    (void)state;
    struct mailbox m;
    struct local_outcome o;
    assert_int_equal(mailbox_find(settings, span_of("MAP.example"), span_of("x/alice/"), false, &m, &o), 0);
    assert_int_equal(m.uid, 64520);
    assert_int_equal(m.gid, 64520);
    assert_int_equal(m.group_count, 1);
    assert_string_equal(m.base, "/var/mail/map");
    assert_string_equal(m.path, "x/alice");

    const struct passwd *pw = getpwnam("daemon");
    assert_non_null(pw);
    assert_int_equal(mailbox_find(settings, span_of("system.example"), span_of("daemon"), false, &m, &o), 0);
    assert_int_equal(m.uid, pw->pw_uid);
    assert_int_equal(m.gid, pw->pw_gid);
    assert_string_equal(m.base, pw->pw_dir);
    assert_string_equal(m.path, "Maildir");
    for (size_t i = 0; i < m.group_count; i++)
        assert_int_not_equal(m.groups[i], 0);
}

static void without_root_only_ones_own(void **state)
{
    (void)state;
    struct mailbox m;
    struct local_outcome o;
    assert_int_equal(mailbox_find(settings, span_of("map.example"), span_of("a"), true, &m, &o), geteuid() == 64520 ? 0 : -1);
    if (geteuid() != 64520)
        assert_non_null(strstr(o.words, "without root only uid"));
}

static int times_asked(const char *domain, const char *name)
{
    struct mailbox m;
    struct local_outcome o;
    int before = asked;
    (void)mailbox_find(settings, span_of(domain), span_of(name), false, &m, &o);
    return asked - before;
}

static void what_is_known_of_a_user_holds_a_moment(void **state)
{
    (void)state;
    later = 100;
    static const char *const names[][2] = {{"system.example", "daemon"}, {"map.example", "a"}};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(times_asked(names[i][0], names[i][1]), 1);
        assert_int_equal(times_asked(names[i][0], names[i][1]), 0);
        later += MAILBOX_USER_SECONDS + 1;
        assert_int_equal(times_asked(names[i][0], names[i][1]), 1);
    }
    for (int i = 0; i < 2; i++) { /* "no" is asked for again each time, and so is a refusal */
        assert_int_equal(times_asked("system.example", "no-such-user-here"), 1);
        assert_int_equal(times_asked("system.example", "root"), 1);
        assert_int_equal(times_asked("rootmap.example", "a"), 1);
    }
}

static void a_number_is_no_name(void **state)
{
    (void)state;
    struct mailbox m;
    struct local_outcome o;
    assert_int_equal(mailbox_find(settings, span_of("map.example"), span_of("a"), false, &m, &o), 0);
    assert_int_equal(mailbox_find(settings, span_of("system.example"), span_of("64520"), false, &m, &o), -1);
    assert_int_equal(o.verdict, VERDICT_FAILED);
}

static void workers_are_for_the_same_user_groups_and_place(void **state)
{
    (void)state;
    struct mailbox a = {.uid = 1, .gid = 2, .groups = {2, 3}, .group_count = 2, .base = "/a", .path = "b"}, b = a;
    assert_true(mailbox_same(&a, &b));
    b.uid++;
    assert_false(mailbox_same(&a, &b));
    b = a;
    b.gid++;
    assert_false(mailbox_same(&a, &b));
    b = a;
    b.group_count--;
    assert_false(mailbox_same(&a, &b));
    b = a;
    b.groups[1]++;
    assert_false(mailbox_same(&a, &b));
    b = a;
    b.base[1] = 'x';
    assert_false(mailbox_same(&a, &b));
    b = a;
    b.path[0] = 'x';
    assert_false(mailbox_same(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(paths),
                                       cmocka_unit_test(who_gets_none),
                                       cmocka_unit_test(who_gets_one),
                                       cmocka_unit_test(without_root_only_ones_own),
                                       cmocka_unit_test(what_is_known_of_a_user_holds_a_moment),
                                       cmocka_unit_test(a_number_is_no_name),
                                       cmocka_unit_test(workers_are_for_the_same_user_groups_and_place)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
