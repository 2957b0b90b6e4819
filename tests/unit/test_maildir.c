/* A Maildir in a real directory: what is written, what is refused, and that nothing is left when it goes wrong. */
#include "delivery/maildir.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- a clock that can stand still, and a disk that can fail ----------------------------------------------------------------------- */

static bool frozen;
static int sync_fails_at; /* which call, from 1; 0: none */
static int rename_error;

int __real_clock_gettime(clockid_t, struct timespec *);
int __real_fsync(int);
int __real_fdatasync(int);
int __real_renameat2(int, const char *, int, const char *, unsigned);
int __wrap_clock_gettime(clockid_t, struct timespec *);
int __wrap_fsync(int);
int __wrap_fdatasync(int);
int __wrap_renameat2(int, const char *, int, const char *, unsigned);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
    if (!frozen)
        return __real_clock_gettime(id, t);
    *t = (struct timespec){1700000000, 123456000};
    return 0;
}

static int syncs, directory_syncs;

static bool sync_fails(void)
{
    errno = EIO;
    return sync_fails_at && --sync_fails_at == 0;
}

int __wrap_fsync(int fd)
{
    directory_syncs++;
    return sync_fails() ? -1 : __real_fsync(fd);
}

int __wrap_fdatasync(int fd)
{
    syncs++;
    return sync_fails() ? -1 : __real_fdatasync(fd);
}

/* Each by itself, so that one of them can fail. */
void __wrap_flush_files(const int fds[], int errors[], size_t n);
void __wrap_flush_files(const int fds[], int errors[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        errors[i] = fdatasync(fds[i]) == 0 ? 0 : errno;
}

int __wrap_renameat2(int from, const char *old, int to, const char *fresh, unsigned flags)
{
    if (rename_error) {
        errno = rename_error;
        return -1;
    }
    return __real_renameat2(from, old, to, fresh, flags);
}

/* ---- helpers ---------------------------------------------------------------------------------------------------------------------- */

static char base[64];

static int setup(void **state)
{
    (void)state;
    frozen = false;
    sync_fails_at = rename_error = 0;
    (void)snprintf(base, sizeof base, "/tmp/test_maildir.XXXXXX");
    return mkdtemp(base) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

/* The number of files in base/sub; the path of the last one in `found`. */
static int files(const char *sub, char found[600])
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/%s", base, sub);
    DIR *d = opendir(path);
    assert_non_null(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));)
        if (e->d_name[0] != '.') {
            n++;
            if (found)
                (void)snprintf(found, 600, "%s/%s", path, e->d_name);
        }
    closedir(d);
    return n;
}

static size_t content(const char *path, char *to, size_t room)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(to, 1, room, f);
    (void)fclose(f);
    return n;
}

static struct maildir_letter letter(struct span body)
{
    return (struct maildir_letter){
        .sender = span_of("a@example.org"), .body = body, .fd = -1, .id = 77, .index = 3, .hostname = "mx.example.org"};
}

static int deliver_to(const char *path, const struct maildir_letter *l, struct local_outcome *o)
{
    struct maildir m;
    struct maildir_delivery d = {.box = &m, .letter = *l};
    memset(o, 0, sizeof *o);
    if (maildir_open(&m, base, path, geteuid(), true, o) < 0)
        return -1;
    maildir_deliver(&d, 1);
    maildir_close(&m);
    *o = d.outcome;
    return o->verdict == VERDICT_DELIVERED ? 0 : -1;
}

static void expect_file(struct span body, const char *expected, size_t n)
{
    char found[600], got[1024];
    struct local_outcome o;
    struct maildir_letter l = letter(body);
    (void)teardown(NULL);
    assert_int_equal(mkdir(base, 0700), 0);
    assert_int_equal(deliver_to("Maildir", &l, &o), 0);
    assert_int_equal(files("Maildir/new", found), 1);
    assert_int_equal(content(found, got, sizeof got), n);
    assert_memory_equal(got, expected, n);
}
#define HEAD                   "Return-Path: <a@example.org>\n"
#define EXPECT(body, expected) expect_file(SPAN_LITERAL(body), HEAD expected, sizeof(HEAD expected) - 1)

/* ---- what is written -------------------------------------------------------------------------------------------------------------- */

static void lines_end_in_lf_and_all_else_stays(void **state)
{
    (void)state;
    EXPECT("Subject: x\r\n\r\nbody\r\n", "Subject: x\n\nbody\n");
    EXPECT("a\rb\r\r\nc\r\n", "a\rb\r\nc\n");
    EXPECT("no end", "no end");
    EXPECT("ends in cr\r", "ends in cr\r");
    EXPECT("nul \0 and \xff\r\n.\r\nFrom here\r\n", "nul \0 and \xff\n.\nFrom here\n");
    EXPECT("", "");
}

/* A mailbox is lines: what is none is encoded. */
static void a_binary_message_is_converted(void **state)
{
    (void)state;
#define BINARY_HEADER "MIME-Version: 1.0\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    static const char body[] = BINARY_HEADER "a\r\nb\nc\rd\0";
    static const char converted[] = HEAD "MIME-Version: 1.0\nContent-Type: a/b\nContent-Transfer-Encoding: base64\n\nYQ0KYgpjDWQA\n";
    static const char broken[] = "Content-Transfer-Encoding: base64\r\n\r\na\r\nb\nc";
    for (int from_file = 0; from_file < 2; from_file++) {
        char found[600], got[1024];
        struct local_outcome o;
        struct maildir_letter l = letter(span_make(body, sizeof body - 1));
        l.binary = true;
        if (from_file) {
            l.fd = memfd_create("letter", 0);
            assert_int_equal(write(l.fd, "xx", 2) + write(l.fd, body, sizeof body - 1), sizeof body + 1);
            l.offset = 2;
            l.size = sizeof body - 1;
            l.body = span_make(NULL, 0);
        }
        (void)teardown(NULL);
        assert_int_equal(mkdir(base, 0700), 0);
        assert_int_equal(deliver_to("Maildir", &l, &o), 0);
        assert_int_equal(files("Maildir/new", found), 1);
        assert_int_equal(content(found, got, sizeof got), sizeof converted - 1);
        assert_memory_equal(got, converted, sizeof converted - 1);
        if (from_file)
            close(l.fd);
    }
    char found[600], got[1024];
    struct local_outcome o;
    struct maildir_letter l = letter(span_make(broken, sizeof broken - 1));
    l.binary = true;
    (void)teardown(NULL);
    assert_int_equal(mkdir(base, 0700), 0);
    assert_int_equal(deliver_to("Maildir", &l, &o), 0);
    assert_int_equal(files("Maildir/new", found), 1);
    size_t n = content(found, got, sizeof got);
    assert_int_equal(n, strlen(HEAD "Content-Transfer-Encoding: base64\n\na\nb\nc"));
    assert_memory_equal(got, HEAD "Content-Transfer-Encoding: base64\n\na\nb\nc", n);
}

static void directories_are_made_for_the_owner_alone(void **state)
{
    (void)state;
    struct local_outcome o;
    struct maildir_letter l = letter(SPAN_LITERAL("x\r\n"));
    struct stat st;
    char path[200], found[600];
    umask(0);
    assert_int_equal(deliver_to("example.org/bob", &l, &o), 0);
    umask(022);
    static const char *const parts[] = {"example.org", "example.org/bob", "example.org/bob/tmp", "example.org/bob/new",
                                        "example.org/bob/cur"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", base, parts[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0700);
    }
    assert_int_equal(files("example.org/bob/new", found), 1);
    assert_int_equal(stat(found, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(o.verdict, VERDICT_DELIVERED);
}

/* CR and LF may stand on the two sides of a cut between two reads. */
static void a_large_body_from_a_descriptor(void **state)
{
    (void)state;
    enum { LINES = 40000, AT = 100 };
    char path[200], found[600], line[16];
    (void)snprintf(path, sizeof path, "%s/body", base);
    FILE *f = fopen(path, "w+");
    assert_non_null(f);
    (void)fprintf(f, "%*s", AT, "");
    for (int i = 0; i < LINES; i++)
        (void)fprintf(f, "%.*s\r\n", i % 9, "abcdefgh");
    (void)fflush(f);
    long end = ftell(f);
    struct maildir_letter l = letter((struct span){0});
    l.fd = fileno(f);
    l.offset = AT;
    l.size = (uint64_t)(end - AT);
    struct local_outcome o;
    assert_int_equal(deliver_to("Maildir", &l, &o), 0);
    assert_int_equal(files("Maildir/new", found), 1);
    FILE *got = fopen(found, "r");
    assert_non_null(got);
    char back[64];
    assert_non_null(fgets(back, sizeof back, got));
    assert_string_equal(back, HEAD);
    for (int i = 0; i < LINES; i++) {
        (void)snprintf(line, sizeof line, "%.*s\n", i % 9, "abcdefgh");
        assert_non_null(fgets(back, sizeof back, got));
        assert_string_equal(back, line);
    }
    assert_null(fgets(back, sizeof back, got));
    (void)fclose(got);

    l.size++; /* the file is shorter than it should be */
    assert_int_equal(deliver_to("Maildir", &l, &o), -1);
    assert_int_equal(o.verdict, VERDICT_DEFERRED);
    assert_int_equal(files("Maildir/tmp", NULL), 0);
    assert_int_equal(files("Maildir/new", NULL), 1);
    (void)fclose(f);
}

static void names_are_unique_and_safe(void **state)
{
    (void)state;
    char name[256], wanted[256];
    struct maildir_letter l = letter((struct span){0});
    frozen = true;
    l.hostname = "a/b:c";
    maildir_name(&l, getpid(), name);
    (void)snprintf(wanted, sizeof wanted, "1700000000.M123456P%ldQ00000000002D-3.a\\057b\\072c", (long)getpid());
    assert_string_equal(name, wanted);
    char host[2000];
    memset(host, ':', sizeof host - 1);
    host[sizeof host - 1] = '\0';
    l.hostname = host;
    maildir_name(&l, getpid(), name);
    assert_true(strlen(name) < 255);
}

/* ---- what goes wrong -------------------------------------------------------------------------------------------------------------- */

static void nothing_is_ever_replaced(void **state)
{
    (void)state;
    char name[256], path[600], got[64];
    struct local_outcome o;
    struct maildir_letter l = letter(SPAN_LITERAL("second\r\n"));
    for (int i = 0; i < 2; i++) {
        rename_error = i ? EINVAL : 0; /* with renameat2, and with the link that stands in for it */
        frozen = false;
        assert_int_equal(deliver_to("Maildir", &l, &o), 0);
        frozen = true;
        maildir_name(&l, getpid(), name);
        (void)snprintf(path, sizeof path, "%s/Maildir/new/%s", base, name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        (void)fputs("first", f);
        (void)fclose(f);
        assert_int_equal(deliver_to("Maildir", &l, &o), -1);
        assert_int_equal(o.verdict, VERDICT_DEFERRED);
        assert_int_equal(content(path, got, sizeof got), 5);
        assert_int_equal(files("Maildir/tmp", NULL), 0);
        assert_int_equal(files("Maildir/new", NULL), 2 + i);
    }
}

static void another_process_file_in_tmp_is_left_alone(void **state)
{
    (void)state;
    char name[256], path[600], got[64];
    struct local_outcome o;
    struct maildir_letter l = letter(SPAN_LITERAL("mine\r\n"));
    assert_int_equal(deliver_to("Maildir", &l, &o), 0);
    frozen = true;
    maildir_name(&l, getpid(), name);
    (void)snprintf(path, sizeof path, "%s/Maildir/tmp/%s", base, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fputs("other", f);
    (void)fclose(f);
    assert_int_equal(deliver_to("Maildir", &l, &o), -1);
    assert_int_equal(content(path, got, sizeof got), 5);
    assert_int_equal(files("Maildir/new", NULL), 1);
}

static void a_failing_sync_is_no_delivery(void **state)
{
    (void)state;
    struct local_outcome o;
    struct maildir_letter l = letter(SPAN_LITERAL("x\r\n"));
    assert_int_equal(deliver_to("Maildir", &l, &o), 0);
    for (int call = 1; call <= 2; call++) { /* of the file, of new */
        sync_fails_at = call;
        assert_int_equal(deliver_to("Maildir", &l, &o), -1);
        assert_int_equal(sync_fails_at, 0);
        assert_int_equal(o.verdict, VERDICT_DEFERRED);
        assert_string_equal(o.status, "4.3.0");
        assert_int_equal(files("Maildir/tmp", NULL), 0);
        assert_int_equal(files("Maildir/new", NULL), 1);
    }
}

static void a_file_that_may_not_grow(void **state)
{
    (void)state;
    static char body[200000];
    memset(body, 'x', sizeof body);
    struct local_outcome o;
    struct maildir_letter l = letter(span_make(body, sizeof body));
    struct rlimit r, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
    small = r;
    small.rlim_cur = 100000;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int status = deliver_to("Maildir", &l, &o);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
    assert_int_equal(status, -1);
    assert_string_equal(o.status, "4.2.2");
    assert_int_equal(o.verdict, VERDICT_DEFERRED);
    assert_int_equal(files("Maildir/tmp", NULL), 0);
    assert_int_equal(files("Maildir/new", NULL), 0);
}

static void a_missing_base_is_not_made(void **state)
{
    (void)state;
    struct maildir m;
    struct local_outcome o;
    assert_int_equal(maildir_open(&m, "/nonexistent/home", "Maildir", geteuid(), true, &o), -1);
    assert_int_equal(o.verdict, VERDICT_DEFERRED);
    assert_non_null(strstr(o.words, "/nonexistent/home does not exist"));
}

/* Runs as another user, as a child does. */
static int as_user(uid_t uid, const char *path, struct local_outcome *o)
{
    if (geteuid() != 0)
        skip();
    assert_int_equal(setegid(uid), 0);
    assert_int_equal(seteuid(uid), 0);
    struct maildir_letter l = letter(SPAN_LITERAL("x\r\n"));
    int status = deliver_to(path, &l, o);
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(setegid(0), 0);
    return status;
}

static void make(const char *name, uid_t uid, mode_t mode)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", base, name);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, mode), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(path, uid, uid), 0);
}

static void a_directory_that_may_not_be_written(void **state)
{
    (void)state;
    struct local_outcome o;
    assert_int_equal(chmod(base, 0755), 0);
    make("home", 64521, 0755);
    assert_int_equal(as_user(64520, "home/Maildir", &o), -1);
    assert_string_equal(o.status, "4.3.0");
    assert_non_null(strstr(o.words, "home/Maildir"));
    assert_non_null(strstr(o.words, "Permission denied"));
}

/* Directories of an admin may be such that they can be walked, and not listed. */
static void a_way_that_cannot_be_listed(void **state)
{
    (void)state;
    struct local_outcome o;
    assert_int_equal(chmod(base, 0711), 0);
    make("home", 64520, 0700);
    assert_int_equal(as_user(64520, "home/Maildir", &o), 0);
}

static void link_in(const char *target, const char *name, uid_t owner)
{
    char path[200], to[200];
    (void)snprintf(path, sizeof path, "%s/%s", base, name);
    (void)snprintf(to, sizeof to, "%s/%s", base, target);
    assert_int_equal(symlink(to, path), 0);
    if (geteuid() == 0)
        assert_int_equal(lchown(path, owner, owner), 0);
}

static void links_lead_to_the_owners_directories_only(void **state)
{
    (void)state;
    struct local_outcome o;
    assert_int_equal(chmod(base, 0755), 0);
    make("alice", 64520, 0700);
    make("data", 64520, 0700);
    make("bob", 64521, 0777); /* careless, or a common group */
    link_in("data", "alice/Maildir", 64520);
    assert_int_equal(as_user(64520, "alice/Maildir", &o), 0);
    assert_int_equal(files("data/new", NULL), 1);

    link_in("bob", "alice/Other", 64520);
    assert_int_equal(as_user(64520, "alice/Other", &o), -1);
    assert_non_null(strstr(o.words, "another user"));
    link_in("data", "bob/Maildir", 64521);
    assert_int_equal(as_user(64520, "bob/Maildir", &o), -1);
    assert_non_null(strstr(o.words, "another user"));
    assert_int_equal(as_user(64520, "bob", &o), -1);
    assert_non_null(strstr(o.words, "must belong to uid 64520"));
}

static void tmp_new_and_cur_are_no_links(void **state)
{
    (void)state;
    struct local_outcome o;
    struct maildir_letter l = letter(SPAN_LITERAL("x\r\n"));
    static const char *const parts[] = {"Maildir/tmp", "Maildir/new", "Maildir/cur"};
    make("real", geteuid(), 0700);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(deliver_to("Maildir", &l, &o), 0);
        char command[300];
        (void)snprintf(command, sizeof command, "rm -r %s/%s", base, parts[i]);
        assert_int_equal(system(command), 0);
        link_in("real", parts[i], geteuid());
        assert_int_equal(deliver_to("Maildir", &l, &o), -1);
        assert_int_equal(files("real", NULL), 0);
        assert_non_null(strstr(o.words, "no symbolic link"));
        (void)snprintf(command, sizeof command, "rm -r %s/Maildir", base);
        assert_int_equal(system(command), 0);
    }
}

static bool taken(uint16_t verdict, const char *status, const char *words, struct local_outcome *o)
{
    return local_outcome_take(o, verdict, span_of(status), span_of(words));
}

static void answers_are_checked(void **state)
{
    (void)state;
    struct local_outcome o;
    assert_int_equal(local_deferred(&o, "4.2.2", "full\r\n250 ok %c", 0x7f), -1);
    assert_string_equal(o.words, "full??250 ok ?");
    assert_true(taken(VERDICT_DEFERRED, "4.2.2", "full \xff\x1b", &o));
    assert_int_equal(o.verdict, VERDICT_DEFERRED);
    assert_string_equal(o.status, "4.2.2");
    assert_string_equal(o.words, "full ??");
    assert_true(taken(VERDICT_DELIVERED, "5.1.1", "here", &o));
    assert_int_equal(o.verdict, VERDICT_DELIVERED);
    assert_string_equal(o.status, "2.0.0");
    static const char *const bad[] = {"",         "4",      "4.",     "4.2",   "4.2.",  "4..2",
                                      "4.1234.2", "4.2.2x", "4.2.2 ", "5.1.1", "2.0.0", "4.222.22222222"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(taken(VERDICT_DEFERRED, bad[i], "x", &o));
    assert_false(taken(VERDICT_DEFERRED, "4.2.2", "", &o));
    for (uint16_t v = 0; v < 10; v++)
        if (v != VERDICT_DELIVERED && v != VERDICT_DEFERRED)
            assert_false(taken(v, "4.2.2", "x", &o));
}

/* ---- several together ------------------------------------------------------------------------------------------------------------- */

enum { TOGETHER = 6 };

static struct maildir boxes[2];

static void together(struct maildir_delivery d[TOGETHER])
{
    struct local_outcome o;
    syncs = directory_syncs = 0;
    for (int i = 0; i < 2; i++)
        assert_int_equal(maildir_open(&boxes[i], base, i ? "bob" : "alice", geteuid(), true, &o), 0);
    syncs = directory_syncs = 0;
    for (int i = 0; i < TOGETHER; i++) {
        d[i] = (struct maildir_delivery){.box = &boxes[i % 2], .letter = letter(SPAN_LITERAL("x\r\n"))};
        d[i].letter.index = (unsigned)i;
    }
    maildir_deliver(d, TOGETHER);
    for (int i = 0; i < 2; i++)
        maildir_close(&boxes[i]);
}

static void each_file_is_flushed_and_each_directory_once(void **state)
{
    (void)state;
    struct maildir_delivery d[TOGETHER];
    together(d);
    for (int i = 0; i < TOGETHER; i++)
        assert_int_equal(d[i].outcome.verdict, VERDICT_DELIVERED);
    assert_int_equal(syncs, TOGETHER);
    assert_int_equal(directory_syncs, 2);
    assert_int_equal(files("alice/new", NULL), TOGETHER / 2);
    assert_int_equal(files("bob/new", NULL), TOGETHER / 2);
}

/* What one can't do is no matter of the others'. */
static void one_that_fails_fails_alone(void **state)
{
    (void)state;
    struct maildir_delivery d[TOGETHER];
    struct local_outcome o;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(maildir_open(&boxes[i], base, i ? "bob" : "alice", geteuid(), true, &o), 0);
        maildir_close(&boxes[i]);
    }
    sync_fails_at = 3; /* the third file, alice's second */
    together(d);
    for (int i = 0; i < TOGETHER; i++)
        assert_int_equal(d[i].outcome.verdict, i == 2 ? VERDICT_DEFERRED : VERDICT_DELIVERED);
    assert_int_equal(files("alice/new", NULL), TOGETHER / 2 - 1);
    assert_int_equal(files("alice/tmp", NULL), 0);
    assert_int_equal(files("bob/new", NULL), TOGETHER / 2);
}

static void a_new_that_cannot_be_flushed_fails_all_of_its_mailbox(void **state)
{
    (void)state;
    struct maildir_delivery d[TOGETHER];
    struct local_outcome o;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(maildir_open(&boxes[i], base, i ? "bob" : "alice", geteuid(), true, &o), 0);
        maildir_close(&boxes[i]);
    }
    sync_fails_at = TOGETHER + 1;
    together(d);
    for (int i = 0; i < TOGETHER; i++)
        assert_int_equal(d[i].outcome.verdict, i % 2 == 0 ? VERDICT_DEFERRED : VERDICT_DELIVERED);
    assert_int_equal(files("alice/new", NULL), 0);
    assert_int_equal(files("bob/new", NULL), TOGETHER / 2);
}

/* ---- what was left, and what moved ------------------------------------------------------------------------------------------------ */

static void leave(const char *name, time_t age)
{
    char path[700];
    (void)snprintf(path, sizeof path, "%s/Maildir/tmp/%s", base, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fclose(f);
    struct timespec at[2] = {{.tv_sec = time(NULL) - age}, {.tv_sec = time(NULL) - age}};
    assert_int_equal(utimensat(AT_FDCWD, path, at, 0), 0);
}

static void only_our_own_old_leavings_are_removed(void **state)
{
    (void)state;
    struct maildir m;
    struct local_outcome o;
    static const char *const others[] = {"1700000000.M123456P77Q00000000002D-3.other.host",
                                         "1700000000.12_3.mx.example.org",
                                         "1700000000.M123456P77Q-3.mx.example.org",
                                         "x1700000000.M1P7Q0000-3.mx.example.org",
                                         ".",
                                         "x"};
    assert_int_equal(maildir_open(&m, base, "Maildir", geteuid(), true, &o), 0);
    leave("1700000000.M123456P77Q00000000002D-3.mx.example.org", MAILDIR_STALE + 60);
    leave("1700000000.M123457P77Q00000000002D-3.mx.example.org", MAILDIR_STALE - 60);
    int kept = 1;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i][0] != '.') {
            leave(others[i], 10 * MAILDIR_STALE);
            kept++;
        }
    maildir_sweep(&m, "mx.example.org");
    assert_int_equal(files("Maildir/tmp", NULL), kept);
    maildir_close(&m);
}

static void a_maildir_that_was_replaced_is_noticed(void **state)
{
    (void)state;
    struct maildir m;
    struct local_outcome o;
    char command[400];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(maildir_open(&m, base, "Maildir", geteuid(), true, &o), 0);
        assert_true(maildir_still_there(&m));
        switch (i) {
        case 0:
            (void)snprintf(command, sizeof command, "mv %s/Maildir %s/Old", base, base);
            break;
        case 1:
            (void)snprintf(command, sizeof command, "mv %s/Maildir/new %s/Maildir/old; mkdir %s/Maildir/new", base, base, base);
            break;
        default:
            (void)snprintf(command, sizeof command, "mv %s/Maildir %s/Old2; mkdir -p %s/Maildir/tmp %s/Maildir/new", base, base, base,
                           base);
        }
        assert_int_equal(system(command), 0);
        assert_false(maildir_still_there(&m));
        maildir_close(&m);
    }
}

static void links_are_left_to_who_may_follow_them(void **state)
{
    (void)state;
    struct maildir m;
    struct local_outcome o;
    make("data", geteuid(), 0700);
    link_in("data", "Maildir", geteuid());
    assert_int_equal(maildir_open(&m, base, "Maildir", geteuid(), false, &o), -1);
    assert_true(m.linked);
    assert_int_equal(maildir_open(&m, base, "Maildir", geteuid(), true, &o), 0);
    assert_false(m.linked);
    maildir_close(&m);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lines_end_in_lf_and_all_else_stays),
        T(a_binary_message_is_converted),
        T(directories_are_made_for_the_owner_alone),
        T(a_large_body_from_a_descriptor),
        T(names_are_unique_and_safe),
        T(nothing_is_ever_replaced),
        T(another_process_file_in_tmp_is_left_alone),
        T(a_failing_sync_is_no_delivery),
        T(a_file_that_may_not_grow),
        T(a_missing_base_is_not_made),
        T(a_directory_that_may_not_be_written),
        T(a_way_that_cannot_be_listed),
        T(links_lead_to_the_owners_directories_only),
        T(tmp_new_and_cur_are_no_links),
        T(answers_are_checked),
        T(each_file_is_flushed_and_each_directory_once),
        T(one_that_fails_fails_alone),
        T(a_new_that_cannot_be_flushed_fails_all_of_its_mailbox),
        T(only_our_own_old_leavings_are_removed),
        T(a_maildir_that_was_replaced_is_noticed),
        T(links_are_left_to_who_may_follow_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
