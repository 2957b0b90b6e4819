#include "common/log.h"
#include "common/sandbox.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Each test forks a child that enters a sandbox and tries one thing. The child's exit status is 0 when it was done, else the errno that
 * it was refused with; DIED + signal when the kernel killed it; SETUP when the sandbox could not be entered. */
#define SETUP 250
#define DIED  1000

#define UID 64501
#define GID 64502

static char directory[64];

static int tried(bool done)
{
    return done ? 0 : errno;
}

static int run(const struct sandbox *sandbox, bool unprivileged, int (*try)(void))
{
    pid_t child = fork();
    if (child == 0) {
        struct error error;
        if (sandbox_enter(sandbox, unprivileged, &error) != 0) {
            fprintf(stderr, "%s\n", error.text);
            _exit(SETUP);
        }
        _exit(try());
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? DIED + WTERMSIG(status) : WEXITSTATUS(status);
}

static struct sandbox sandbox_with(unsigned calls)
{
    return (struct sandbox){.uid = UID, .gid = GID, .landlock = true, .calls = calls, .open_files = 64};
}

static bool privileged(void)
{
    return geteuid() == 0;
}

/* In each world that this test can make: as root it drops root; and without, as for an ordinary user. */
static void expect(struct sandbox sandbox, int (*try)(void), int want)
{
    assert_int_equal(run(&sandbox, true, try), want);
    if (privileged())
        assert_int_equal(run(&sandbox, false, try), want);
}

/* Layers that AddressSanitizer's build leaves out. */
static void needs_all_layers(void)
{
#ifdef POSTINO_SANITIZER
    skip();
#endif
}

static void needs_root(void)
{
    if (!privileged())
        skip();
}

/* ---- what is tried ---- */

static int try_nothing(void)
{
    return 0;
}

static int try_open_passwd(void)
{
    return tried(open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0);
}

static int try_open_passwd_old(void)
{
    return tried(syscall(SYS_open, "/etc/passwd", O_RDONLY) >= 0);
}

static int try_exec(void)
{
    char name[] = "/bin/true", *arguments[] = {name, NULL}, *environment[] = {NULL};
    return tried(execve("/bin/true", arguments, environment) == 0);
}

static int make_socket(int family, int type, int protocol)
{
    return tried(socket(family, type, protocol) >= 0);
}

static int try_stream4(void)
{
    return make_socket(AF_INET, SOCK_STREAM, 0);
}

static int try_stream6(void)
{
    return make_socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
}

static int try_dgram(void)
{
    return make_socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int try_unix(void)
{
    return make_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int try_raw(void)
{
    return make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

static int try_packet(void)
{
    return make_socket(AF_PACKET, SOCK_DGRAM, 0);
}

static int try_netlink(void)
{
    return make_socket(AF_NETLINK, SOCK_RAW, 0);
}

static int try_sctp(void)
{
    return make_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}

static int try_high_bits(void)
{
    return tried(syscall(SYS_socket, (uint64_t)1 << 32 | AF_PACKET, SOCK_DGRAM, 0) >= 0);
}

static int try_connect(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int result = tried(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    return result == ECONNREFUSED ? 0 : result; /* it went out */
}

static int try_bind(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return tried(bind(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&to, sizeof to) == 0);
}

static int inherited = -1; /* a TCP socket from before the sandbox */

static int try_connect_inherited(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return tried(connect(inherited, (struct sockaddr *)&to, sizeof to) == 0);
}

static int try_fork(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int status;
    return tried(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

static void *start(void *arg)
{
    *(int *)arg = 1;
    return NULL;
}

static int try_thread(void)
{
    pthread_t thread;
    int ran = 0;
    int result = pthread_create(&thread, NULL, start, &ran);
    if (result != 0)
        return result;
    pthread_join(thread, NULL);
    return ran ? 0 : EINVAL;
}

static int try_namespace(void)
{
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0)
        _exit(0);
    return tried(child > 0);
}

static int try_thread_in_namespace(void)
{
    return tried(syscall(SYS_clone, CLONE_THREAD | CLONE_VM | CLONE_SIGHAND | CLONE_NEWNET, NULL, NULL, NULL, NULL) > 0);
}

/* A name without a file: only Landlock's scopes (ABI 6) can refuse it. */
static const char abstract[] = "\0test_sandbox";

static struct sockaddr_un abstract_address(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, abstract, sizeof abstract);
    return address;
}

static int try_abstract(void)
{
    struct sockaddr_un to = abstract_address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return tried(connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
}

static int try_ptrace(void)
{
    return tried(syscall(SYS_ptrace, 0, 0, 0, 0) == 0);
}

static int try_executable_memory(void)
{
    return tried(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static int try_writable_code(void)
{
    return tried(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static int try_make_executable(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return tried(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
}

static int try_terminal_input(void)
{
    return tried(ioctl(STDIN_FILENO, TIOCSTI, "x") == 0);
}

static int try_foreign_signal(void)
{
    return tried(kill(getppid(), 0) == 0);
}

static int try_abort(void)
{
    signal(SIGABRT, SIG_DFL);
    abort();
}

static int open_below(const char *name, int flags)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return open(path, flags | O_CLOEXEC, 0600);
}

static int try_read_own(void)
{
    return tried(open_below("file", O_RDONLY) >= 0);
}

static int try_list_own(void)
{
    DIR *listing = opendir(directory);
    return tried(listing != NULL && readdir(listing) != NULL);
}

static int try_write_own(void)
{
    return tried(open_below("file", O_WRONLY) >= 0);
}

static int try_create_own(void)
{
    return tried(open_below("made", O_RDWR | O_CREAT) >= 0);
}

static int try_truncate_own(void)
{
    return tried(open_below("file", O_RDONLY | O_TRUNC) >= 0);
}

/* As a spool does: made, written, synced, renamed to another directory, removed. */
static int try_spool(void)
{
    char sub[128], from[128], to[160];
    snprintf(sub, sizeof sub, "%s/sub", directory);
    snprintf(from, sizeof from, "%s/new", directory);
    snprintf(to, sizeof to, "%s/name", sub);
    int fd = open_below("new", O_WRONLY | O_CREAT | O_EXCL);
    bool good = fd >= 0 && (mkdir(sub, 0700) == 0 || errno == EEXIST) && write(fd, "x", 1) == 1 && fdatasync(fd) == 0 &&
                rename(from, to) == 0 && unlink(to) == 0 && rmdir(sub) == 0;
    return tried(good);
}

static int try_symlink(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/link", directory);
    return tried(symlink("/etc/passwd", path) == 0);
}

/* A whole day of a program that has only the base set. */
static int try_daily_life(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    void *memory = malloc(1 << 20), *more = realloc(memory, 8 << 20);
    free(more);
    struct epoll_event event = {.events = EPOLLIN};
    time_t now = time(NULL);
    struct tm local;
    char text[64];
    localtime_r(&now, &local);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S %z %Z", &local);
    if (localtime(&now) == NULL || mktime(&local) != now)
        return EINVAL;
    log_error("a line from inside");
    log_flush();
    return tried(epoll_wait(epoll, &event, 1, 0) == 0);
}

static int pair_of_sockets[2];

static int try_pass_descriptor(void)
{
    char byte = 'x', space[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &pair_of_sockets[0], sizeof(int));
    if (sendmsg(pair_of_sockets[0], &m, MSG_NOSIGNAL) != 1 || recvmsg(pair_of_sockets[1], &m, MSG_CMSG_CLOEXEC) != 1)
        return errno;
    int waiting;
    int flags = fcntl(pair_of_sockets[1], F_GETFL);
    return tried(ioctl(pair_of_sockets[1], FIONREAD, &waiting) == 0 && fcntl(pair_of_sockets[1], F_SETFL, flags | O_NONBLOCK) == 0 &&
                 send(pair_of_sockets[0], "x", 1, 0) == 1);
}

/* ---- the filter ---- */

static void base_set_is_enough_for_an_event_loop(void **state)
{
    (void)state;
    expect(sandbox_with(0), try_nothing, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair_of_sockets), 0);
    expect(sandbox_with(0), try_pass_descriptor, 0);
}

static void base_set_kills_for_anything_else(void **state)
{
    (void)state;
    needs_all_layers();
    static int (*const tries[])(void) = {
        try_open_passwd,
        try_open_passwd_old,
        try_exec,
        try_stream4,
        try_stream6,
        try_dgram,
        try_unix,
        try_raw,
        try_packet,
        try_netlink,
        try_fork,
        try_thread,
        try_ptrace,
        try_executable_memory,
        try_make_executable,
        try_terminal_input,
        try_foreign_signal,
        try_list_own,
        try_connect_inherited,
    };
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        expect(sandbox_with(0), tries[i], DIED + SIGSYS);
}

static void abort_ends_by_its_own_signal(void **state)
{
    (void)state;
    expect(sandbox_with(0), try_abort, DIED + SIGABRT);
}

static void libc_knows_the_time_zone_inside(void **state)
{
    (void)state;
    unsetenv("TZ");
    expect(sandbox_with(0), try_daily_life, 0);
}

static void streams_and_no_other_sockets(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_STREAM_OUT);
    expect(sandbox, try_stream4, 0);
    expect(sandbox, try_stream6, 0);
    expect(sandbox, try_connect, 0);
    expect(sandbox_with(SANDBOX_STREAM_OUT | SANDBOX_BIND), try_bind, 0);
    needs_all_layers();
    expect(sandbox, try_bind, DIED + SIGSYS);
    expect(sandbox, try_dgram, DIED + SIGSYS);
    expect(sandbox, try_unix, DIED + SIGSYS);
    expect(sandbox, try_raw, DIED + SIGSYS);
    expect(sandbox, try_packet, DIED + SIGSYS);
    expect(sandbox, try_sctp, DIED + SIGSYS);
    expect(sandbox, try_high_bits, DIED + SIGSYS);
    expect(sandbox, try_open_passwd, DIED + SIGSYS);
    expect(sandbox, try_exec, DIED + SIGSYS);
}

static void streams_to_the_named_ports(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_STREAM_TO);
    sandbox_port(&sandbox, 9);
    sandbox_port(&sandbox, 9);
    assert_int_equal(sandbox.port_count, 1);
    expect(sandbox, try_stream4, 0);
    expect(sandbox, try_stream6, 0);
    expect(sandbox, try_connect, 0);
    needs_all_layers();
    expect(sandbox, try_dgram, DIED + SIGSYS);
    expect(sandbox, try_bind, DIED + SIGSYS);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 4)
        skip();
    sandbox.ports[0] = 10;
    expect(sandbox, try_connect, EACCES);
    sandbox.port_count = SANDBOX_PORTS + 1;
    assert_int_equal(run(&sandbox, true, try_nothing), SETUP);
}

static void datagrams_and_no_other_sockets(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_DGRAM_OUT);
    expect(sandbox, try_dgram, 0);
    needs_all_layers();
    expect(sandbox, try_stream4, DIED + SIGSYS);
    expect(sandbox, try_raw, DIED + SIGSYS);
}

static void unix_sockets_and_no_other(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_UNIX_OUT);
    expect(sandbox, try_unix, 0);
    needs_all_layers();
    expect(sandbox, try_stream4, DIED + SIGSYS);
    expect(sandbox, try_netlink, DIED + SIGSYS);
}

static void ports_are_closed_by_landlock_too(void **state)
{
    (void)state;
    needs_all_layers();
    /* connect(2) is there for UNIX sockets, and the TCP socket was inherited. */
    expect(sandbox_with(SANDBOX_UNIX_OUT), try_connect_inherited, EACCES);
}

static void abstract_sockets_of_others_are_out_of_reach(void **state)
{
    (void)state;
    needs_all_layers();
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* asks for the ABI */) < 6)
        skip();
    struct sockaddr_un address = abstract_address();
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0);
    struct sandbox sandbox = sandbox_with(SANDBOX_UNIX_OUT);
    expect(sandbox, try_abstract, EPERM);
    sandbox.landlock = false;
    expect(sandbox, try_abstract, 0);
    close(listener);
}

static void threads_and_no_processes(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_THREADS);
    expect(sandbox, try_thread, 0);
    needs_all_layers();
    expect(sandbox, try_fork, DIED + SIGSYS);
    expect(sandbox, try_namespace, DIED + SIGSYS);
    expect(sandbox, try_thread_in_namespace, DIED + SIGSYS);
}

static void processes_and_no_threads_or_namespaces(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_FORK);
    expect(sandbox, try_fork, 0);
    needs_all_layers();
    expect(sandbox, try_namespace, DIED + SIGSYS);
    expect(sandbox, try_exec, DIED + SIGSYS);
}

static void code_is_mapped_only_with_an_exec_path_and_never_writable(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_FILES_READ);
    sandbox_path(&sandbox, "/usr/lib", SANDBOX_EXEC);
    expect(sandbox, try_executable_memory, 0);
    needs_all_layers();
    expect(sandbox, try_writable_code, DIED + SIGSYS);
    expect(sandbox, try_make_executable, DIED + SIGSYS);
    expect(sandbox, try_exec, DIED + SIGSYS);
}

/* ---- files ---- */

static void reading_only_below_the_path(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_FILES_READ);
    sandbox_path(&sandbox, directory, SANDBOX_READ);
    sandbox_path(&sandbox, "/does/not/exist", SANDBOX_READ);
    expect(sandbox, try_read_own, 0);
    expect(sandbox, try_list_own, 0);
    needs_all_layers();
    expect(sandbox, try_open_passwd, EACCES);
    expect(sandbox, try_open_passwd_old, EACCES);
    expect(sandbox, try_write_own, DIED + SIGSYS);
    expect(sandbox, try_create_own, DIED + SIGSYS);
    expect(sandbox, try_truncate_own, DIED + SIGSYS);
    expect(sandbox, try_spool, DIED + SIGSYS);
}

static void reading_nothing_without_a_path(void **state)
{
    (void)state;
    needs_all_layers();
    expect(sandbox_with(SANDBOX_FILES_READ), try_open_passwd, EACCES);
    expect(sandbox_with(SANDBOX_FILES_READ), try_read_own, EACCES);
}

static void one_file_alone(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/file", directory);
    struct sandbox sandbox = sandbox_with(SANDBOX_FILES_READ);
    sandbox_path(&sandbox, path, SANDBOX_READ);
    expect(sandbox, try_read_own, 0);
    needs_all_layers();
    expect(sandbox, try_list_own, EACCES);
}

static void writing_only_below_the_path(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_FILES_READ | SANDBOX_FILES_WRITE);
    sandbox.file_size = 1 << 20;
    sandbox_path(&sandbox, directory, SANDBOX_READ | SANDBOX_WRITE);
    expect(sandbox, try_spool, 0);
    expect(sandbox, try_write_own, 0);
    needs_all_layers();
    expect(sandbox, try_open_passwd, EACCES);
    expect(sandbox, try_symlink, DIED + SIGSYS);
}

static void landlock_refuses_to_write_where_it_may_read(void **state)
{
    (void)state;
    needs_all_layers();
    struct sandbox sandbox = sandbox_with(SANDBOX_FILES_WRITE);
    sandbox.file_size = 1 << 20;
    sandbox_path(&sandbox, directory, SANDBOX_READ);
    expect(sandbox, try_write_own, EACCES);
    expect(sandbox, try_create_own, EACCES);
    expect(sandbox, try_truncate_own, EACCES);
    expect(sandbox, try_read_own, 0);
}

static void without_landlock_the_uid_decides(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_FILES_READ);
    sandbox.landlock = false;
    expect(sandbox, try_open_passwd, 0);
}

static void too_many_or_too_long_paths_are_refused(void **state)
{
    (void)state;
    char path[300];
    struct error error;
    struct sandbox sandbox = sandbox_with(0);
    for (int i = 0; i < SANDBOX_PATHS + 1; i++)
        sandbox_path(&sandbox, "/etc", SANDBOX_READ);
    assert_int_equal(sandbox_enter(&sandbox, true, &error), -1);
    sandbox = sandbox_with(0);
    memset(path, 'a', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    sandbox_path(&sandbox, path, SANDBOX_READ);
    assert_int_equal(sandbox_enter(&sandbox, true, &error), -1);
    assert_non_null(strstr(error.text, "255 bytes"));
}

/* ---- rlimits, users, capabilities ---- */

/* What a program may not ask for inside is asked from outside: the child waits, the test reads its /proc entry. */
static int gate[2];

static int wait_at_gate(void)
{
    char c;
    return read(gate[0], &c, 1) == 1 ? 0 : 1;
}

static void status_line(pid_t pid, const char *key, char *value, size_t size)
{
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    snprintf(value, size, "missing");
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':') {
            char *at = line + strlen(key) + 1;
            at += strspn(at, "\t ");
            at[strcspn(at, "\n")] = '\0';
            snprintf(value, size, "%s", at);
        }
    fclose(f);
}

/* The hard limit; the soft one is the same. */
static void assert_limit(pid_t pid, const char *name, const char *want)
{
    char path[64], line[256], soft[32] = "", hard[32] = "";
    snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            assert_int_equal(sscanf(line + strlen(name), "%31s %31s", soft, hard), 2);
    fclose(f);
    assert_string_equal(hard, want);
    assert_string_equal(soft, want);
}

static void assert_status(pid_t pid, const char *key, const char *want)
{
    char value[200];
    status_line(pid, key, value, sizeof value);
    if (strcmp(value, want) != 0)
        fail_msg("%s: \"%s\", want \"%s\"", key, value, want);
}

#ifndef POSTINO_SANITIZER
static void assert_root(pid_t pid)
{
    char path[64], root[128];
    snprintf(path, sizeof path, "/proc/%d/root", (int)pid);
    ssize_t n = readlink(path, root, sizeof root - 1);
    assert_true(n > 0);
    root[n] = '\0';
    assert_string_equal(root, directory);
}
#endif

static pid_t start_as(uid_t uid, const struct sandbox *sandbox, bool unprivileged)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(gate), 0);
    pid_t child = fork();
    if (child == 0) {
        struct error error;
        if (uid != getuid() && (setresuid(uid, uid, uid) != 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0))
            _exit(SETUP);
        close(gate[1]); /* so that it ends with the test */
        if (sandbox_enter(sandbox, unprivileged, &error) != 0)
            _exit(SETUP);
        _exit(write(ready[1], "x", 1) == 1 ? wait_at_gate() : 1);
    }
    close(ready[1]);
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return child;
}

static pid_t start_and_wait_until_inside(const struct sandbox *sandbox, bool unprivileged)
{
    return start_as(getuid(), sandbox, unprivileged);
}

static void let_go(pid_t child)
{
    int status;
    assert_int_equal(write(gate[1], "x", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(gate[0]);
    close(gate[1]);
}

static void process_entries_say_what_the_sandbox_promises(void **state)
{
    (void)state;
    needs_root();
    struct sandbox sandbox = sandbox_with(0);
    sandbox.root = directory;
    pid_t child = start_and_wait_until_inside(&sandbox, false);
    assert_status(child, "Uid", "64501\t64501\t64501\t64501");
    assert_status(child, "Gid", "64502\t64502\t64502\t64502");
    assert_status(child, "Groups", "");
    assert_status(child, "NoNewPrivs", "1");
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        assert_status(child, sets[i], "0000000000000000");
#ifndef POSTINO_SANITIZER
    assert_status(child, "Seccomp", "2");
    assert_root(child);
    assert_limit(child, "Max processes", "0"); /* AddressSanitizer's look for leaks is one */
#endif
    assert_limit(child, "Max open files", "64");
    assert_limit(child, "Max core file size", "0");
    let_go(child);
}

static void unprivileged_keeps_the_user_and_all_the_rest(void **state)
{
    (void)state;
    char uid[64];
    struct sandbox sandbox = sandbox_with(0);
    sandbox.root = directory;
    pid_t child = start_and_wait_until_inside(&sandbox, true);
    snprintf(uid, sizeof uid, "%u\t%u\t%u\t%u", getuid(), getuid(), getuid(), getuid());
    assert_status(child, "Uid", uid);
    assert_status(child, "NoNewPrivs", "1");
    assert_status(child, "CapPrm", "0000000000000000");
    assert_status(child, "CapEff", "0000000000000000");
#ifndef POSTINO_SANITIZER
    assert_status(child, "Seccomp", "2");
#endif
    let_go(child);
}

/* What an ordinary user starts, no other program of that user may read or trace. */
static void nobody_looks_into_the_process(void **state)
{
    (void)state;
    needs_root();
    needs_all_layers();
    char path[64];
    struct stat st;
    struct sandbox sandbox = sandbox_with(0);
    pid_t child = start_as(UID, &sandbox, true);
    snprintf(path, sizeof path, "/proc/%d/mem", (int)child);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 0);
    let_go(child);
}

static void setuid_and_setgid_are_all_that_is_kept(void **state)
{
    (void)state;
    needs_root();
    struct sandbox sandbox = sandbox_with(SANDBOX_FORK);
    sandbox.keep_setuid = true;
    pid_t child = start_and_wait_until_inside(&sandbox, false);
    assert_status(child, "CapPrm", "00000000000000c0");
    assert_status(child, "CapEff", "00000000000000c0");
    assert_status(child, "CapInh", "0000000000000000");
    assert_status(child, "CapBnd", "0000000000000000");
    assert_status(child, "CapAmb", "0000000000000000");
    let_go(child);
}

static void limits_are_set(void **state)
{
    (void)state;
    struct sandbox sandbox = sandbox_with(SANDBOX_FILES_READ);
    sandbox.file_size = 4096;
    int standard_error = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDERR_FILENO); /* which may be a file */
    pid_t child = start_and_wait_until_inside(&sandbox, true);
    assert_limit(child, "Max file size", "4096");
    let_go(child);
    dup2(standard_error, STDERR_FILENO);
    close(standard_error);
    close(nowhere);
}

static int try_grow_log(void)
{
    log_error("a line");
    log_flush();
    return 0;
}

/* RLIMIT_FSIZE must not stop the log. */
static void log_file_may_grow(void **state)
{
    (void)state;
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/log", directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    log_open("test", fd, LOG_TO_FILE, LOG_LEVEL_INFO);
    expect(sandbox_with(0), try_grow_log, 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 10);
    struct sandbox writer = sandbox_with(SANDBOX_FILES_READ | SANDBOX_FILES_WRITE); /* a file of its own is small, the log is not */
    writer.file_size = 5;
    expect(writer, try_grow_log, 0);
    log_open("test", STDERR_FILENO, LOG_TO_STDERR, LOG_LEVEL_INFO);
    unlink(path);
}

static int try_grow_other(void)
{
    return tried(write(inherited, "x", 1) == 1);
}

static void no_other_file_grows(void **state)
{
    (void)state;
    int before = inherited, standard_error = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDERR_FILENO); /* which may be a file, and then may grow */
    inherited = open_below("grow", O_WRONLY | O_CREAT | O_TRUNC);
    signal(SIGXFSZ, SIG_IGN);
    expect(sandbox_with(0), try_grow_other, EFBIG);
    dup2(standard_error, STDERR_FILENO);
    close(standard_error);
    close(nowhere);
    close(inherited);
    inherited = before;
}

static void root_is_no_user_of_a_program(void **state)
{
    (void)state;
    needs_root();
    struct sandbox sandbox = sandbox_with(0);
    sandbox.uid = 0;
    assert_int_equal(run(&sandbox, false, try_nothing), SETUP);
}

/* ---- the children of local ---- */

static int become(uid_t uid, gid_t gid)
{
    struct error error;
    gid_t groups[] = {gid, 64600};
    pid_t child = fork();
    if (child == 0) {
        if (sandbox_become(uid, gid, groups, 2, &error) != 0)
            _exit(1);
        gid_t now[4];
        bool good = getuid() == uid && geteuid() == uid && getgid() == gid && getgroups(4, now) == 2 && now[1] == 64600;
        /* No way back, and none onward. */
        good = good && setresuid(UID, UID, UID) != 0 && setresuid(64555, 64555, 64555) != 0 && setresgid(GID, GID, GID) != 0 &&
               syscall(SYS_setgroups, 0, NULL) != 0;
        _exit(good ? 0 : 2);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? 100 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int try_become(void)
{
    return become(64510, 64511);
}

static int try_become_root(void)
{
    return become(0, 0);
}

static int try_setuid_root(void)
{
    return tried(setresuid(0, 0, 0) == 0);
}

static int try_setuid_root_high_bits(void)
{
    return tried(syscall(SYS_setresuid, (uint64_t)1 << 32, (uint64_t)1 << 32, (uint64_t)1 << 32) == 0);
}

static void child_becomes_a_user_for_good(void **state)
{
    (void)state;
    needs_root();
    struct sandbox sandbox = sandbox_with(SANDBOX_FORK);
    sandbox.keep_setuid = true;
    assert_int_equal(run(&sandbox, false, try_become), 0);
    assert_int_equal(run(&sandbox, false, try_become_root), 1);
}

static void nobody_becomes_root(void **state)
{
    (void)state;
    needs_root();
    needs_all_layers();
    struct sandbox sandbox = sandbox_with(SANDBOX_FORK);
    sandbox.keep_setuid = true;
    assert_int_equal(run(&sandbox, false, try_setuid_root), DIED + SIGSYS);
    assert_int_equal(run(&sandbox, false, try_setuid_root_high_bits), DIED + SIGSYS);
}

/* ---- sandbox_user ---- */

static void users_by_number(void **state)
{
    (void)state;
    uid_t uid;
    gid_t gid;
    struct error error;
    assert_int_equal(sandbox_user("64500", "smtpd", &uid, &gid, &error), 0);
    assert_int_equal(uid, 64500);
    assert_int_equal(gid, 64500);
    assert_int_equal(sandbox_user("64500", "route", &uid, &gid, &error), 0);
    assert_int_equal(uid, 64506);
    assert_int_equal(sandbox_user("64500", "nobody", &uid, &gid, &error), -1);
    assert_int_equal(sandbox_user("0", "smtpd", &uid, &gid, &error), -1);
    assert_int_equal(sandbox_user("64500x", "smtpd", &uid, &gid, &error), -1);
    assert_int_equal(sandbox_user("99999999999999999999", "smtpd", &uid, &gid, &error), -1);
}

static void users_by_prefix(void **state)
{
    (void)state;
    uid_t uid;
    gid_t gid;
    struct error error;
    const struct passwd *daemon = getpwnam("daemon");
    assert_non_null(daemon);
    assert_int_equal(sandbox_user("dae", "mon", &uid, &gid, &error), 0);
    assert_int_equal(uid, daemon->pw_uid);
    assert_int_equal(sandbox_user("no-such-", "smtpd", &uid, &gid, &error), -1);
    assert_non_null(strstr(error.text, "no-such-smtpd"));
    assert_int_equal(sandbox_user("ro", "ot", &uid, &gid, &error), -1);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test_sandbox.XXXXXX");
    if (mkdtemp(directory) == NULL || chmod(directory, 0777) != 0)
        return -1;
    int fd = open_below("file", O_WRONLY | O_CREAT);
    if (fd < 0 || fchmod(fd, 0666) != 0)
        return -1;
    close(fd);
    inherited = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return inherited >= 0 ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"file", "made", "grow", "new"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_set_is_enough_for_an_event_loop),
        cmocka_unit_test(base_set_kills_for_anything_else),
        cmocka_unit_test(abort_ends_by_its_own_signal),
        cmocka_unit_test(libc_knows_the_time_zone_inside),
        cmocka_unit_test(streams_and_no_other_sockets),
        cmocka_unit_test(streams_to_the_named_ports),
        cmocka_unit_test(datagrams_and_no_other_sockets),
        cmocka_unit_test(unix_sockets_and_no_other),
        cmocka_unit_test(ports_are_closed_by_landlock_too),
        cmocka_unit_test(abstract_sockets_of_others_are_out_of_reach),
        cmocka_unit_test(threads_and_no_processes),
        cmocka_unit_test(processes_and_no_threads_or_namespaces),
        cmocka_unit_test(code_is_mapped_only_with_an_exec_path_and_never_writable),
        cmocka_unit_test(reading_only_below_the_path),
        cmocka_unit_test(reading_nothing_without_a_path),
        cmocka_unit_test(one_file_alone),
        cmocka_unit_test(writing_only_below_the_path),
        cmocka_unit_test(landlock_refuses_to_write_where_it_may_read),
        cmocka_unit_test(without_landlock_the_uid_decides),
        cmocka_unit_test(too_many_or_too_long_paths_are_refused),
        cmocka_unit_test(process_entries_say_what_the_sandbox_promises),
        cmocka_unit_test(unprivileged_keeps_the_user_and_all_the_rest),
        cmocka_unit_test(nobody_looks_into_the_process),
        cmocka_unit_test(setuid_and_setgid_are_all_that_is_kept),
        cmocka_unit_test(limits_are_set),
        cmocka_unit_test(log_file_may_grow),
        cmocka_unit_test(no_other_file_grows),
        cmocka_unit_test(root_is_no_user_of_a_program),
        cmocka_unit_test(child_becomes_a_user_for_good),
        cmocka_unit_test(nobody_becomes_root),
        cmocka_unit_test(users_by_number),
        cmocka_unit_test(users_by_prefix),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
