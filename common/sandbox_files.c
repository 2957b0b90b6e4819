/* Landlock: which files, TCP ports, abstract sockets and processes a program may reach. What a rule does not allow is refused with EACCES.
 */
#include "common/sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What newer kernels offer, and the header of this system may not know. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (UINT64_C(1) << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (UINT64_C(1) << 15)
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#define LANDLOCK_ACCESS_NET_BIND_TCP    (UINT64_C(1) << 0)
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (UINT64_C(1) << 1)
#endif
#ifndef LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (UINT64_C(1) << 0)
#define LANDLOCK_SCOPE_SIGNAL               (UINT64_C(1) << 1)
#endif

/* LANDLOCK_RULE_NET_PORT is a word of an enum, which nobody can ask for. */
#define RULE_NET_PORT 2
struct port_rule {
    uint64_t rights;
    uint64_t port;
};

struct ruleset {
    uint64_t files;
    uint64_t ports;
    uint64_t scopes;
};

#define RIGHTS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define RIGHTS_EXEC (RIGHTS_READ | LANDLOCK_ACCESS_FS_EXECUTE)
/* No devices, sockets, fifos or symbolic links. REFER: renamed from one directory to another. */
#define RIGHTS_WRITE                                                                                                                       \
    (RIGHTS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_REMOVE_FILE |                          \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REFER)
/* What can be said of a single file. */
#define RIGHTS_FILE                                                                                                                        \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |             \
     LANDLOCK_ACCESS_FS_IOCTL_DEV)

/* Everything that this kernel can refuse (ABI 1 knows the first 13 file rights). */
static struct ruleset rights_of_abi(long abi, unsigned calls)
{
    struct ruleset rights = {.files = (UINT64_C(1) << 13) - 1};
    if (abi >= 2)
        rights.files |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        rights.files |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 4 && !(calls & SANDBOX_STREAM_OUT))
        rights.ports = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
    if (abi >= 5)
        rights.files |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    if (abi >= 6)
        rights.scopes = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
    return rights;
}

/* An older kernel knows a shorter struct. */
static size_t size_of_abi(long abi)
{
    if (abi >= 6)
        return sizeof(struct ruleset);
    return abi >= 4 ? offsetof(struct ruleset, scopes) : offsetof(struct ruleset, ports);
}

static uint64_t rights_of_access(unsigned access)
{
    uint64_t rights = 0;
    if (access & SANDBOX_READ)
        rights |= RIGHTS_READ;
    if (access & SANDBOX_WRITE)
        rights |= RIGHTS_WRITE;
    if (access & SANDBOX_EXEC)
        rights |= RIGHTS_EXEC;
    return rights;
}

static int add_rule(int ruleset, int fd, uint64_t rights, const char *path, struct error *error)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(error, "sandbox: cannot look at %s: %s", path, strerror(errno));
    struct landlock_path_beneath_attr rule = {.allowed_access = S_ISDIR(st.st_mode) ? rights : rights & RIGHTS_FILE, .parent_fd = fd};
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return error_set(error, "sandbox: Landlock refuses the rule for %s: %s", path, strerror(errno));
    return 0;
}

static int add_path(int ruleset, const char *path, uint64_t rights, struct error *error)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
        return 0; /* it can't be used anyway */
    if (fd < 0)
        return error_set(error, "sandbox: cannot open %s: %s", path, strerror(errno));
    int result = add_rule(ruleset, fd, rights, path, error);
    close(fd);
    return result;
}

static int add_paths(int ruleset, const struct sandbox *sandbox, uint64_t handled, struct error *error)
{
    for (size_t i = 0; i < sandbox->path_count; i++) {
        uint64_t rights = rights_of_access(sandbox->paths[i].access) & handled;
        if (rights != 0 && add_path(ruleset, sandbox->paths[i].path, rights, error) != 0)
            return -1;
    }
    return 0;
}

static int add_ports(int ruleset, const struct sandbox *sandbox, uint64_t handled, struct error *error)
{
    for (size_t i = 0; handled && sandbox->calls & SANDBOX_STREAM_TO && i < sandbox->port_count; i++) {
        struct port_rule rule = {.rights = LANDLOCK_ACCESS_NET_CONNECT_TCP, .port = sandbox->ports[i]};
        if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) != 0)
            return error_set(error, "sandbox: Landlock refuses the rule for port %u: %s", (unsigned)sandbox->ports[i], strerror(errno));
    }
    return 0;
}

int sandbox_files_prepare(const struct sandbox *sandbox, int *ruleset, struct error *error)
{
    *ruleset = -1;
    if (!sandbox->landlock)
        return 0;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return error_set(error,
                         "sandbox: this kernel has no Landlock (%s): use Linux 5.13 or later, and have landlock in its lsm= parameter",
                         strerror(errno));
    struct ruleset rights = rights_of_abi(abi, sandbox->calls);
    *ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, size_of_abi(abi), 0);
    if (*ruleset < 0)
        return error_set(error, "sandbox: cannot make a Landlock ruleset (ABI %ld): %s", abi, strerror(errno));
    if (add_ports(*ruleset, sandbox, rights.ports, error) != 0)
        return -1;
    return add_paths(*ruleset, sandbox, rights.files, error);
}

int sandbox_files_restrict(int ruleset, struct error *error)
{
    if (ruleset < 0)
        return 0;
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        return error_set(error, "sandbox: Landlock cannot be entered: %s", strerror(errno));
    close(ruleset);
    return 0;
}

/* The first ABI refuses to move a file from one directory to another, which a Maildir lives by. */
int sandbox_confine(int directory, const char *path, struct error *error)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 2)
        return 0;
    struct ruleset rights = rights_of_abi(abi, 0);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &rights, size_of_abi(abi), 0);
    if (ruleset < 0)
        return error_set(error, "sandbox: cannot make a Landlock ruleset (ABI %ld): %s", abi, strerror(errno));
    if (directory < 0 || add_rule(ruleset, directory, RIGHTS_WRITE & rights.files, path, error) == 0)
        return sandbox_files_restrict(ruleset, error);
    close(ruleset);
    return -1;
}
