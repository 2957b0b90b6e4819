/* The password file: who may log in, and which files are not used. */
#include "auth/passwd.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/test_passwd.XXXXXX";
static struct passwd_file *file;

static const char *hash(const char *password, const char *setting)
{
    return crypt(password, setting);
}

static void write_file(const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void write_users(void)
{
    char text[2000];
    int n = snprintf(text, sizeof text, "# users\n\nann:%s:1000:more\n", hash("secret", "$6$rounds=1000$saltsalt$"));
    n += snprintf(text + n, sizeof text - (size_t)n, "bob@example.org:%s\r\n", hash("other", "$5$rounds=1000$pepper$"));
    snprintf(text + n, sizeof text - (size_t)n, "locked:!\nempty::\nno colon\n#ann2:x\nlast:%s", hash("end", "$5$rounds=1000$x$"));
    write_file(text, 0640);
}

static enum auth_verdict check_in(struct passwd_file *f, const char *user, const char *password, struct error *error)
{
    static struct crypt_data scratch;
    struct passwd_work work;
    if (passwd_look(f, span_of(user), &work, error) != 0)
        return AUTH_NOT_NOW;
    return passwd_right(&work, span_of(password), &scratch) ? AUTH_YES : AUTH_NO;
}

static enum auth_verdict check(const char *user, const char *password)
{
    struct error error = {.text = ""};
    enum auth_verdict verdict = check_in(file, user, password, &error);
    assert_int_equal(verdict == AUTH_NOT_NOW, error.text[0] != '\0');
    return verdict;
}

static void the_right_password_alone_opens(void **state)
{
    (void)state;
    write_users();
    assert_int_equal(check("ann", "secret"), AUTH_YES);
    assert_int_equal(check("bob@example.org", "other"), AUTH_YES);
    assert_int_equal(check("last", "end"), AUTH_YES);
    assert_int_equal(check("ann", "other"), AUTH_NO);
    assert_int_equal(check("ann", ""), AUTH_NO);
    assert_int_equal(check("ann", "secre"), AUTH_NO);
    assert_int_equal(check("Ann", "secret"), AUTH_NO);
    assert_int_equal(check("an", "secret"), AUTH_NO);
    assert_int_equal(check("nobody", "secret"), AUTH_NO);
    assert_int_equal(check("nobody", "postino"), AUTH_NO);
    assert_int_equal(check("locked", "!"), AUTH_NO);
    assert_int_equal(check("empty", ""), AUTH_NO);
    assert_int_equal(check("# users", "x"), AUTH_NO);
    assert_int_equal(check("#ann2", "x"), AUTH_NO);
}

static void a_changed_file_is_read_again(void **state)
{
    (void)state;
    write_users();
    assert_int_equal(check("eve", "new"), AUTH_NO);
    char text[300];
    snprintf(text, sizeof text, "eve:%s\n", hash("new", "$6$rounds=1000$salt$"));
    write_file(text, 0600);
    assert_int_equal(check("eve", "new"), AUTH_YES);
    assert_int_equal(check("ann", "secret"), AUTH_NO);
}

static void a_file_for_everybody_is_not_used(void **state)
{
    (void)state;
    write_users();
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(check("ann", "secret"), AUTH_NOT_NOW);
    assert_int_equal(chmod(path, 0642), 0);
    assert_int_equal(check("ann", "secret"), AUTH_NOT_NOW);
    assert_int_equal(chmod(path, 0640), 0);
    assert_int_equal(check("ann", "secret"), AUTH_YES);
}

static void a_missing_or_odd_file_is_not_a_no(void **state)
{
    (void)state;
    struct error error;
    struct passwd_file *other = passwd_open("/nowhere/passwd");
    assert_int_equal(check_in(other, "a", "b", &error), AUTH_NOT_NOW);
    assert_non_null(strstr(error.text, "/nowhere/passwd"));
    passwd_close(other);
    other = passwd_open("/tmp");
    assert_int_equal(check_in(other, "a", "b", &error), AUTH_NOT_NOW);
    passwd_close(other);
}

/* RFC 7677 3: the password is "pencil". */
#define PENCIL                                                                                                                             \
    "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"                                           \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void scram_secrets_work_for_all(void **state)
{
    (void)state;
    struct passwd_scram a, b, again;
    struct error error;
    write_file("ann:" PENCIL ":more\nlocked:!\n", 0600);
    assert_true(passwd_all_scram(file));
    assert_int_equal(check("ann", "pencil"), AUTH_YES);
    assert_int_equal(check("ann", "pencils"), AUTH_NO);
    assert_int_equal(check("nobody", "pencil"), AUTH_NO);
    assert_int_equal(passwd_scram(file, span_of("ann"), &a, &error), 0);
    assert_true(a.there && a.iterations == 4096);
    assert_string_equal(a.salt, "W22ZaJ0SNY7soEsUEjb6gQ==");
    assert_int_equal(passwd_scram(file, span_of("nobody"), &a, &error), 0);
    assert_int_equal(passwd_scram(file, span_of("locked"), &b, &error), 0);
    assert_int_equal(passwd_scram(file, span_of("nobody"), &again, &error), 0);
    assert_false(a.there || b.there);
    assert_int_equal(a.iterations, 4096);
    assert_int_equal(strlen(a.salt), 24);
    assert_string_equal(a.salt, again.salt);
    assert_string_not_equal(a.salt, b.salt);
    assert_string_not_equal(a.stored, a.server);
    /* Who does not know the file can't tell what is made up. */
    write_file("ann:{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
               "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dV=\n",
               0600);
    assert_int_equal(passwd_scram(file, span_of("nobody"), &again, &error), 0);
    assert_string_not_equal(a.salt, again.salt);
}

static void schemes_of_dovecot(void **state)
{
    (void)state;
    char text[2000];
    snprintf(text, sizeof text, "ann:{SHA512-CRYPT}%s\nbob:{PLAIN}secret\ncid:" PENCIL "\n", hash("secret", "$6$rounds=1000$salt$"));
    write_file(text, 0600);
    assert_false(passwd_all_scram(file));
    assert_int_equal(check("ann", "secret"), AUTH_YES);
    assert_int_equal(check("bob", "secret"), AUTH_NO);
    assert_int_equal(check("bob", "{PLAIN}secret"), AUTH_NO);
    assert_int_equal(check("cid", "pencil"), AUTH_YES);
    write_file("", 0600);
    assert_false(passwd_all_scram(file));
}

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds_of(const char *user)
{
    double began = processor_seconds();
    check(user, "wrong");
    return processor_seconds() - began;
}

/* The most that a user costs, divided by the least. Of each the least of several times counts, as a virtual machine is charged for the time that its host
 * takes away, and a processor is slower while another one is busy; where that is too much, more times may tell better. */
static double spread_of(const char *const users[], size_t n, double good)
{
    double costs[8], spread = 1e9;
    assert_true(n <= 8);
    for (size_t i = 0; i < n; i++)
        costs[i] = 1e9;
    for (int round = 0; round < 60 && (round < 5 || spread >= good); round++) {
        double least = 1e9, most = 0;
        for (size_t i = 0; i < n; i++) {
            double seconds = seconds_of(users[i]);
            costs[i] = seconds < costs[i] ? seconds : costs[i];
            least = costs[i] < least ? costs[i] : least;
            most = costs[i] > most ? costs[i] : most;
        }
        spread = most / least;
    }
    return spread;
}

static void who_is_not_there_costs_as_much(void **state)
{
    (void)state;
    char text[300];
    snprintf(text, sizeof text, "ann:%s\n", hash("new", "$6$rounds=50000$salt$"));
    write_file(text, 0600);
    static const char *const users[] = {"ann", "nobody"};
    assert_true(spread_of(users, 2, 3) < 3);
}

/* The file has both kinds, of which each takes long. */
static void nobody_is_told_by_the_time(void **state)
{
    (void)state;
    char text[1000];
    struct buf secret = BUF_EMPTY(500);
    struct error error;
    assert_int_equal(secret_make(span_of("new"), 20000, &secret, &error), 0);
    snprintf(text, sizeof text, "ann:%s\nbob:%s\nlocked:!\nstarred:*\n", hash("new", "$6$rounds=20000$salt$"), buf_text(&secret));
    buf_free(&secret);
    write_file(text, 0600);
    static const char *const users[] = {"ann", "bob", "locked", "starred", "nobody"};
    assert_true(spread_of(users, 5, 1.5) < 1.5);
    assert_int_equal(check("ann", "new"), AUTH_YES);
    assert_int_equal(check("bob", "new"), AUTH_YES);
    assert_int_equal(check("locked", "new"), AUTH_NO); /* though it is the password of what it was tried against */
    assert_int_equal(check("nobody", "new"), AUTH_NO);
}

/* EHLO asks this, of a file with many users. */
static void whether_all_can_scram_is_found_out_once(void **state)
{
    (void)state;
    struct buf text = BUF_EMPTY(0);
    for (int i = 0; i < 5000; i++)
        buf_printf(&text, "user%d:" PENCIL "\n", i);
    write_file(buf_text(&text), 0600);
    double began = processor_seconds();
    assert_true(passwd_all_scram(file));
    double first = processor_seconds() - began, later = 1e9;
    for (int round = 0; round < 10; round++) {
        began = processor_seconds();
        for (int i = 0; i < 20; i++)
            assert_true(passwd_all_scram(file));
        double seconds = processor_seconds() - began;
        later = seconds < later ? seconds : later;
    }
    assert_true(later < first);
    buf_add_text(&text, "x:$6$rounds=1000$salt$x\n");
    write_file(buf_text(&text), 0600);
    assert_false(passwd_all_scram(file));
    buf_free(&text);
}

static int set_up(void **state)
{
    (void)state;
    close(mkstemp(path));
    file = passwd_open(path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    passwd_close(file);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_right_password_alone_opens),
        cmocka_unit_test(a_changed_file_is_read_again),
        cmocka_unit_test(a_file_for_everybody_is_not_used),
        cmocka_unit_test(a_missing_or_odd_file_is_not_a_no),
        cmocka_unit_test(who_is_not_there_costs_as_much),
        cmocka_unit_test(nobody_is_told_by_the_time),
        cmocka_unit_test(whether_all_can_scram_is_found_out_once),
        cmocka_unit_test(scram_secrets_work_for_all),
        cmocka_unit_test(schemes_of_dovecot),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
