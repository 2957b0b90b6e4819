/* A delivery's process, as the sandboxed postino-local makes it: children that hang, crash, or say what they should not. */
#include "common/log.h"
#include "common/sandbox.h"
#include "delivery/child.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <event2/event.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { USER = 64520, LOCAL = 64504 };

/* ---- a child that misbehaves ------------------------------------------------------------------------------------------------------ */

static enum { GOOD, HANGS, CRASHES, FORGES, FLOODS, SILENT, STRAYS, HOLDS } act;

int __real_fsync(int);
ssize_t __real_write(int, const void *, size_t);
int __wrap_fsync(int);
ssize_t __wrap_write(int, const void *, size_t);

static char base[64];

/* The recipient's own directory, though not the mailbox. */
static bool writes_elsewhere(void)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/elsewhere", base);
    return open(path, O_WRONLY | O_CREAT, 0600) >= 0 || open("/etc/passwd", O_RDONLY) >= 0;
}

/* Of postino-local's own: channels, the event loop. */
static bool holds_what_is_not_its_own(void)
{
    struct stat st;
    for (int fd = STDERR_FILENO + 1; fd < 256; fd++)
        if (fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISFIFO(st.st_mode))
            return true;
    return false;
}

int __wrap_fsync(int fd)
{
    struct stat st;
    while (act == HANGS)
        (void)sched_yield();
    if (act == CRASHES)
        abort();
    if (act == STRAYS && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && writes_elsewhere())
        abort();
    if (act == HOLDS && holds_what_is_not_its_own())
        abort();
    return __real_fsync(fd);
}

static ssize_t say(int fd, const char *text, size_t n)
{
    (void)__real_write(fd, text, n);
    return 0;
}

ssize_t __wrap_write(int fd, const void *p, size_t n)
{
    static char much[60000];
    bool report = n > 2 && n < LOCAL_REPORT_MAX && memcmp(p, "D delivered", n < 11 ? n : 11) == 0;
    if (!report || (act != FORGES && act != FLOODS && act != SILENT))
        return __real_write(fd, p, n);
    memset(much, 'x', sizeof much);
    if (act == FORGES)
        return say(fd, "T 5.1.1 gone\r\n250 ok", 21);
    return act == FLOODS ? say(fd, much, sizeof much) : 0;
}

/* ---- one delivery ----------------------------------------------------------------------------------------------------------------- */

static struct event_base *events;
static struct local_outcome told;
static int times_told, times_freed;

static void done(const struct local_outcome *o, void *arg)
{
    (void)arg;
    told = *o;
    times_told++;
}

static void freed(void)
{
    times_freed++;
    event_base_loopbreak(events);
}

/* In the process that is postino-local. 0: all was as it should be. */
static int local(enum verdict verdict, const char *words)
{
    bool unprivileged = geteuid() != 0;
    struct error error;
    struct sandbox box = {.uid = LOCAL,
                          .gid = LOCAL,
                          .keep_setuid = true,
                          .open_files = 256,
                          .file_size = RLIM_INFINITY,
                          .calls = SANDBOX_FILES_READ | SANDBOX_FILES_WRITE | SANDBOX_FORK | SANDBOX_UNIX_OUT | SANDBOX_PREAD};
    struct maildir_letter letter = {.sender = span_of("a@b.example"), .body = SPAN_LITERAL("x\r\n"), .fd = -1, .id = 5, .hostname = "h"};
    struct mailbox m = {.uid = unprivileged ? geteuid() : USER, .gid = USER, .user = "user", .path = "Maildir"};
    struct local_outcome o;
    (void)alarm(30); /* a child that is not ended would be waited for */
    events = event_base_new();
    struct children all = {.base = events, .freed = freed, .seconds = 1, .unprivileged = unprivileged};
    (void)snprintf(m.base, sizeof m.base, "%s", base);
    if (sandbox_enter(&box, unprivileged, &error) != 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    if (child_start(&all, &m, &letter, done, NULL, &o) < 0)
        return 2;
    event_base_loop(events, 0);
    if (times_told != 1 || times_freed != 1 || all.count != 0)
        return 3;
    if (told.verdict != verdict || !strstr(told.words, words)) {
        fprintf(stderr, "%d %s %s\n", (int)told.verdict, told.status, told.words);
        return 4;
    }
    return geteuid() == (unprivileged ? m.uid : LOCAL) ? 0 : 5;
}

static void expect(int what, enum verdict verdict, const char *words)
{
    act = what;
    pid_t pid = fork();
    if (pid == 0)
        _exit(local(verdict, words));
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(base, sizeof base, "/tmp/test_child.XXXXXX");
    if (!mkdtemp(base))
        return -1;
    return geteuid() == 0 ? chown(base, USER, USER) : 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

static void delivers(void **state)
{
    (void)state;
    expect(GOOD, VERDICT_DELIVERED, "delivered to /tmp/test_child");
}

/* Its user may stop it, or its file system may; it is another user's process than the one that ends it. */
static void one_that_hangs_is_ended(void **state)
{
    (void)state;
    expect(HANGS, VERDICT_DEFERRED, "longer than 1 seconds");
}

static void one_that_crashes(void **state)
{
    (void)state;
    expect(CRASHES, VERDICT_DEFERRED, "ended by signal 6");
}

static void one_that_writes_elsewhere_is_refused(void **state)
{
    (void)state;
    expect(STRAYS, VERDICT_DELIVERED, "delivered");
}

static void one_that_holds_no_edge_of_its_maker(void **state)
{
    (void)state;
    int channel[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, channel), 0);
    expect(HOLDS, VERDICT_DELIVERED, "delivered");
    close(channel[0]);
    close(channel[1]);
}

static void reports_that_are_none(void **state)
{
    (void)state;
    expect(FORGES, VERDICT_DEFERRED, "");
    expect(FLOODS, VERDICT_DEFERRED, "");
    expect(SILENT, VERDICT_DEFERRED, "said nothing of use");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(delivers, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_hangs_is_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_crashes, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_writes_elsewhere_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_holds_no_edge_of_its_maker, setup, teardown),
        cmocka_unit_test_setup_teardown(reports_that_are_none, setup, teardown),
    };
    log_open("test", dup(STDERR_FILENO), LOG_TO_STDERR, LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
