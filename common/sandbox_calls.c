/* seccomp: the system calls that a program may make; any other kills it (SIGSYS), and the master writes down that it did.
 *
 * A table is a set of common/sandbox.h. A program gets the base set and the sets it asks for; a call in several sets is allowed when one of
 * them allows it. A test of an argument sees the 32 bits that the kernel takes for an int, so that nothing hides above them. */
#include "common/sandbox_internal.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TESTS_MOST 3

struct call {
    int number;
    struct scmp_arg_cmp tests[TESTS_MOST]; /* all must hold */
};

#define ALLOW(name)                                                                                                                        \
    {                                                                                                                                      \
        .number = SCMP_SYS(name)                                                                                                           \
    }
#define ALLOW_IF(name, ...)                                                                                                                \
    {                                                                                                                                      \
        .number = SCMP_SYS(name), .tests = { __VA_ARGS__ }                                                                                 \
    }
/* Tests of argument `n`, counted from 0. */
#define IS(n, value)                                                                                                                       \
    {                                                                                                                                      \
        (n), SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)(value)                                                                             \
    }
#define NONE_OF(n, bits)                                                                                                                   \
    {                                                                                                                                      \
        (n), SCMP_CMP_MASKED_EQ, (uint32_t)(bits), 0                                                                                       \
    }
#define ALL_OF(n, bits)                                                                                                                    \
    {                                                                                                                                      \
        (n), SCMP_CMP_MASKED_EQ, (uint32_t)(bits), (uint32_t)(bits)                                                                        \
    }
#define ONLY(n, value, may)                                                                                                                \
    {                                                                                                                                      \
        (n), SCMP_CMP_MASKED_EQ, (uint32_t) ~(uint32_t)(may), (uint32_t)(value)                                                            \
    } /* `value`, with or without the bits `may` */
#define IS_NULL(n)                                                                                                                         \
    {                                                                                                                                      \
        (n), SCMP_CMP_EQ, 0, 0                                                                                                             \
    }

static const struct call base[] = {
    /* Memory; never executable. */
    ALLOW(brk),
    ALLOW_IF(mmap, NONE_OF(2, PROT_EXEC)),
    ALLOW_IF(mprotect, NONE_OF(2, PROT_EXEC)),
    ALLOW(munmap),
    ALLOW(mremap),
    ALLOW(madvise),
    ALLOW(sysinfo),           /* qsort() asks how much memory there is */
    ALLOW(sched_getaffinity), /* libdb and malloc() ask how many processors there are */
    /* Time, where the vDSO has no clock. */
    ALLOW(clock_gettime),
    ALLOW(gettimeofday),
    ALLOW(time),
    /* The event loop: libevent's epoll, and its pipe for signals. */
    ALLOW(epoll_create1),
    ALLOW(epoll_ctl),
    ALLOW(epoll_wait),
    ALLOW(epoll_pwait),
    ALLOW(eventfd2),
    ALLOW(pipe2),
    /* Descriptors that are open. */
    ALLOW(read),
    ALLOW(readv),
    ALLOW(write),
    ALLOW(writev),
    ALLOW(close),
    ALLOW(sendmsg),
    ALLOW(recvmsg),
    ALLOW(recvfrom),
    ALLOW_IF(sendto, IS_NULL(4)), /* send(): only where the socket is connected to */
    ALLOW(getsockopt),
    ALLOW(shutdown),
    ALLOW_IF(ioctl, IS(1, FIONREAD)), /* libevent: how much is there to read */
    ALLOW_IF(fcntl, IS(1, F_GETFL)),
    ALLOW_IF(fcntl, IS(1, F_SETFL)),
    ALLOW_IF(fcntl, IS(1, F_GETFD)),
    ALLOW_IF(fcntl, IS(1, F_SETFD)),
    ALLOW_IF(fcntl, IS(1, F_DUPFD_CLOEXEC)),
    /* Signals, and the end. */
    ALLOW(rt_sigaction),
    ALLOW(rt_sigprocmask),
    ALLOW(rt_sigreturn),
    ALLOW(restart_syscall),
    ALLOW(exit),
    ALLOW(exit_group),
    /* Locks and random numbers (malloc, OpenSSL), and who we are (log, abort). */
    ALLOW(futex),
    ALLOW(getrandom),
    ALLOW(sched_yield),
    ALLOW(getpid),
    ALLOW(gettid),
    ALLOW(getuid),
    ALLOW(geteuid),
    ALLOW(getgid),
    ALLOW(getegid),
};

/* What both sides of a connection need. */
#define CONNECTIONS ALLOW(getsockname), ALLOW(getpeername), ALLOW(setsockopt)

static const struct call accepting[] = {
    ALLOW(accept),
    ALLOW(accept4),
    CONNECTIONS,
};

/* socket(2) with the type alone or with its flags, and with the one protocol of the type, by name or as 0. */
#define SOCKET_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)
#define MAY_MAKE_SOCKET(family, type, protocol)                                                                                            \
    ALLOW_IF(socket, IS(0, family), ONLY(1, type, SOCKET_FLAGS), IS(2, 0)),                                                                \
        ALLOW_IF(socket, IS(0, family), ONLY(1, type, SOCKET_FLAGS), IS(2, protocol))

static const struct call stream_out[] = {
    MAY_MAKE_SOCKET(AF_INET, SOCK_STREAM, IPPROTO_TCP),
    MAY_MAKE_SOCKET(AF_INET6, SOCK_STREAM, IPPROTO_TCP),
    ALLOW(connect),
    CONNECTIONS,
};

static const struct call stream_to[] = {
    MAY_MAKE_SOCKET(AF_INET, SOCK_STREAM, IPPROTO_TCP),
    MAY_MAKE_SOCKET(AF_INET6, SOCK_STREAM, IPPROTO_TCP),
    ALLOW(connect),
    CONNECTIONS,
};

static const struct call dgram_out[] = {
    MAY_MAKE_SOCKET(AF_INET, SOCK_DGRAM, IPPROTO_UDP),
    MAY_MAKE_SOCKET(AF_INET6, SOCK_DGRAM, IPPROTO_UDP),
    ALLOW(connect),
    ALLOW(bind),
    ALLOW(sendto),
    CONNECTIONS,
};

/* The C library asks nscd, sssd or systemd for users, over a socket that it waits on itself. */
static const struct call unix_out[] = {
    ALLOW_IF(socket, IS(0, AF_UNIX), ONLY(1, SOCK_STREAM, SOCKET_FLAGS), IS(2, 0)),
    ALLOW_IF(socket, IS(0, AF_UNIX), ONLY(1, SOCK_DGRAM, SOCKET_FLAGS), IS(2, 0)),
    ALLOW(connect),
    ALLOW(poll),
    ALLOW(ppoll),
    ALLOW(uname),
    CONNECTIONS,
};

static const struct call unix_stream[] = {
    ALLOW_IF(socket, IS(0, AF_UNIX), ONLY(1, SOCK_STREAM, SOCKET_FLAGS), IS(2, 0)),
    ALLOW(connect),
    CONNECTIONS,
};

/* To read a descriptor that was handed over, at any offset. */
#define READ_AT ALLOW(pread64), ALLOW(preadv), ALLOW(fstat), ALLOW(lseek), ALLOW_IF(newfstatat, ALL_OF(3, AT_EMPTY_PATH))

static const struct call pread_only[] = {READ_AT};

static const struct call binding[] = {ALLOW(bind)};

static const struct call polling[] = {ALLOW(poll), ALLOW(ppoll)};

static const struct call files_read[] = {
    ALLOW_IF(openat, NONE_OF(2, O_ACCMODE | O_CREAT | O_TRUNC)),
    ALLOW_IF(open, NONE_OF(1, O_ACCMODE | O_CREAT | O_TRUNC)),
    READ_AT,
    ALLOW(stat),
    ALLOW(lstat),
    ALLOW(newfstatat),
    ALLOW(statx),
    ALLOW(fstatfs),
    ALLOW(access),
    ALLOW(faccessat),
    ALLOW(faccessat2),
    ALLOW(getdents64),
    ALLOW(readlink),
    ALLOW(readlinkat),
    ALLOW(getcwd),
};

/* With files_read. Which files: the uid and Landlock say. */
static const struct call files_write[] = {
    ALLOW(openat),
    ALLOW(open),
    ALLOW(pwrite64),
    ALLOW(pwritev),
    ALLOW(fsync),
    ALLOW(fdatasync),
    ALLOW(sync_file_range),
    ALLOW(ftruncate),
    ALLOW(fallocate),
    ALLOW(rename),
    ALLOW(renameat),
    ALLOW(renameat2),
    ALLOW(link),
    ALLOW(linkat),
    ALLOW(unlink),
    ALLOW(unlinkat),
    ALLOW(mkdir),
    ALLOW(mkdirat),
    ALLOW(rmdir),
    ALLOW(fchmod),
    ALLOW(fchmodat),
    ALLOW(utimensat),
    ALLOW(umask),
    ALLOW(statfs), /* free space */
    ALLOW(flock),
    ALLOW_IF(fcntl, IS(1, F_SETLK)),
    ALLOW_IF(fcntl, IS(1, F_SETLKW)),
    ALLOW_IF(fcntl, IS(1, F_OFD_SETLK)),
    ALLOW_IF(fcntl, IS(1, F_OFD_SETLKW)),
};

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP)
#define THREAD     (CLONE_THREAD | CLONE_VM | CLONE_SIGHAND)

/* What a new process or thread does before its own code. */
#define STARTING ALLOW(set_robust_list), ALLOW(rseq), ALLOW_IF(prctl, IS(0, PR_SET_NAME))

/* A child that becomes the recipient; never root (see load_never_root). It starts no program. */
static const struct call forking[] = {
    ALLOW_IF(clone, NONE_OF(0, NAMESPACES)),
    STARTING,
    ALLOW(wait4),
    ALLOW(setgroups),
    ALLOW(setresgid),
    ALLOW(setresuid),
    ALLOW(capset),
    ALLOW(getresuid),
    ALLOW(getresgid),
    ALLOW(getgroups),
    ALLOW(umask),
    ALLOW_IF(kill, IS(1, SIGKILL)), /* a child that takes too long, or was stopped by its user */
    ALLOW(close_range),
    ALLOW_IF(prlimit64, IS(0, 0)), /* a child's own limits */
    ALLOW(landlock_create_ruleset),
    ALLOW(landlock_add_rule),
    ALLOW(landlock_restrict_self),
    ALLOW(poll), /* for its maker's orders, and for the end of its children */
    ALLOW(ppoll),
    ALLOW_IF(socketpair, IS(0, AF_UNIX)), /* to talk to them */
    ALLOW(io_setup),                      /* a child flushes several files at the same time */
    ALLOW(io_submit),
    ALLOW(io_getevents),
};

static const struct call threading[] = {
    ALLOW_IF(clone, {0, SCMP_CMP_MASKED_EQ, THREAD | NAMESPACES, THREAD}), STARTING, ALLOW(sched_getaffinity), /* malloc: how many arenas */
};

/* Where a path may be executed (SANDBOX_EXEC): the C library loads its modules. Memory is written or executed, never both. */
static const struct call mapping_code[] = {
    ALLOW_IF(mmap, {2, SCMP_CMP_MASKED_EQ, PROT_EXEC | PROT_WRITE, PROT_EXEC}),
};

struct set {
    unsigned when; /* a bit of enum sandbox_calls */
    const struct call *calls;
    size_t count;
};

#define SET(when, calls)                                                                                                                   \
    {                                                                                                                                      \
        (when), (calls), sizeof(calls) / sizeof *(calls)                                                                                   \
    }

static const struct set sets[] = {
    SET(SANDBOX_ACCEPT, accepting),
    SET(SANDBOX_STREAM_OUT, stream_out),
    SET(SANDBOX_DGRAM_OUT, dgram_out),
    SET(SANDBOX_STREAM_TO, stream_to),
    SET(SANDBOX_UNIX_OUT, unix_out),
    SET(SANDBOX_UNIX_STREAM, unix_stream),
    SET(SANDBOX_PREAD, pread_only),
    SET(SANDBOX_POLL, polling),
    SET(SANDBOX_BIND, binding),
    SET(SANDBOX_FILES_READ | SANDBOX_FILES_WRITE, files_read),
    SET(SANDBOX_FILES_WRITE, files_write),
    SET(SANDBOX_FORK, forking),
    SET(SANDBOX_THREADS, threading),
};

static int add_calls(scmp_filter_ctx filter, const struct call *calls, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        unsigned tests = 0;
        while (tests < TESTS_MOST && calls[i].tests[tests].op != 0)
            tests++;
        int result = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, calls[i].number, tests, calls[i].tests);
        if (result != 0 && result != -EEXIST)
            return result;
    }
    return 0;
}

static bool maps_code(const struct sandbox *sandbox)
{
    for (size_t i = 0; i < sandbox->path_count; i++)
        if (sandbox->paths[i].access & SANDBOX_EXEC)
            return true;
    return false;
}

static int add_sets(scmp_filter_ctx filter, const struct sandbox *sandbox)
{
    int result = add_calls(filter, base, sizeof base / sizeof *base);
    for (size_t i = 0; i < sizeof sets / sizeof *sets && result == 0; i++)
        if (sandbox->calls & sets[i].when)
            result = add_calls(filter, sets[i].calls, sets[i].count);
    if (result == 0 && maps_code(sandbox))
        result = add_calls(filter, mapping_code, sizeof mapping_code / sizeof *mapping_code);
    return result;
}

/* abort() ends with its own signal, not with SIGSYS. A child of ours has another pid. */
static int add_abort(scmp_filter_ctx filter, const struct sandbox *sandbox)
{
    if (sandbox->calls & SANDBOX_FORK)
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A2(SCMP_CMP_EQ, SIGABRT));
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
}

/* The arguments of clone3 are in memory, where no filter sees them; without it the C library uses clone. */
static int add_no_clone3(scmp_filter_ctx filter, const struct sandbox *sandbox)
{
    if (!(sandbox->calls & (SANDBOX_FORK | SANDBOX_THREADS)))
        return 0;
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int set_attributes(scmp_filter_ctx filter)
{
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (result == 0)
        result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree instead of a list */
    return result;
}

static int load_allowed(const struct sandbox *sandbox)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == NULL)
        return -ENOMEM;
    int result = set_attributes(filter);
    if (result == 0)
        result = add_sets(filter, sandbox);
    if (result == 0)
        result = add_abort(filter, sandbox);
    if (result == 0)
        result = add_no_clone3(filter, sandbox);
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}

/* A second filter, as an allow-list can't say "not 0 in the lower half": who may become any user may still not become root. */
static int load_never_root(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL)
        return -ENOMEM;
    int result = set_attributes(filter);
    for (unsigned n = 0; n < 3 && result == 0; n++)
        result = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, SCMP_SYS(setresuid), 1, SCMP_CMP(n, SCMP_CMP_MASKED_EQ, UINT32_MAX, 0));
    if (result == 0)
        result = seccomp_load(filter);
    seccomp_release(filter);
    return result;
}

int sandbox_calls_restrict(const struct sandbox *sandbox, struct error *error)
{
    int result = sandbox->calls & SANDBOX_FORK ? load_never_root() : 0;
    if (result == 0)
        result = load_allowed(sandbox);
    if (result != 0)
        return error_set(error, "sandbox: seccomp cannot be entered: %s: a kernel with CONFIG_SECCOMP_FILTER is needed", strerror(-result));
    return 0;
}
