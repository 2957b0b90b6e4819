#include "common/log.h"
#include "common/sandbox_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Which layers this build has. AddressSanitizer reads /proc and its own binary, starts a tracer that stops the process to look for leaks,
 * and maps memory as no program does: its build has users, capabilities and rlimits (but for RLIMIT_NPROC), not the other layers. */
struct layers {
    bool root, landlock, seccomp, no_processes;
};

static struct layers layers_wanted(void)
{
#ifdef POSTINO_SANITIZER
    return (struct layers){0};
#else
    struct layers layers = {true, true, true, true};
#ifdef POSTINO_TRY
    /* One layer by itself, to prove that it holds without the other. */
    const char *only = getenv("POSTINO_TRY_LAYER");
    if (only != NULL && strcmp(only, "files") == 0)
        layers.seccomp = false;
    if (only != NULL && strcmp(only, "calls") == 0)
        layers.root = layers.landlock = false;
#endif
    return layers;
#endif
}

void sandbox_path(struct sandbox *sandbox, const char *path, unsigned access)
{
    size_t i = sandbox->path_count++;
    if (i >= SANDBOX_PATHS)
        return;
    sandbox->paths[i].access = access;
    if ((size_t)snprintf(sandbox->paths[i].path, sizeof sandbox->paths[i].path, "%s", path) >= sizeof sandbox->paths[i].path)
        sandbox->path_count = SANDBOX_PATHS + 1;
}

void sandbox_directory_of(struct sandbox *sandbox, const char *file, unsigned access)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(file, '/');
    if (slash == NULL)
        return;
    snprintf(directory, sizeof directory, "%.*s", slash > file ? (int)(slash - file) : 1, file);
    for (size_t i = 0; i < sandbox->path_count && i < SANDBOX_PATHS; i++)
        if (sandbox->paths[i].access == access && strcmp(sandbox->paths[i].path, directory) == 0)
            return;
    sandbox_path(sandbox, directory, access);
}

void sandbox_port(struct sandbox *sandbox, uint16_t port)
{
    for (size_t i = 0; i < sandbox->port_count && i < SANDBOX_PORTS; i++)
        if (sandbox->ports[i] == port)
            return;
    size_t i = sandbox->port_count++;
    if (i < SANDBOX_PORTS)
        sandbox->ports[i] = port;
}

void sandbox_user_database(struct sandbox *sandbox)
{
    static const char *const files[] = {"/etc",         "/run/systemd/userdb", "/run/userdb", "/usr/lib/userdb",
                                        "/var/lib/sss", "/var/lib/extrausers", "/run/nscd",   "/run/nslcd"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        sandbox_path(sandbox, files[i], SANDBOX_READ);
    sandbox->calls |= SANDBOX_FILES_READ | SANDBOX_UNIX_OUT;
}

static int check_paths(const struct sandbox *sandbox, struct error *error)
{
    if (sandbox->path_count > SANDBOX_PATHS)
        return error_set(error, "sandbox: more than %d paths, or one of more than %zu bytes: use fewer or shorter ones", SANDBOX_PATHS,
                         sizeof sandbox->paths[0].path - 1);
    if (sandbox->port_count > SANDBOX_PORTS)
        return error_set(error, "sandbox: more than %d ports: use fewer", SANDBOX_PORTS);
    return 0;
}

/* libc reads /etc/localtime whenever it is asked for the zone; with TZ set it knows that nothing has changed, and keeps what it has. */
static void load_time_zone(void)
{
    setenv("TZ", ":/etc/localtime", 0);
    tzset();
}

static int limit(int resource, const char *name, rlim_t value, struct error *error)
{
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)resource, &now) != 0)
        return error_set(error, "sandbox: cannot read %s: %s", name, strerror(errno));
    if (setrlimit((__rlimit_resource_t)resource, &(struct rlimit){value, value}) == 0)
        return 0;
    /* More than this process may have (an ordinary user, a container): less is no weaker sandbox. */
    if (errno == EPERM && value > now.rlim_max) {
        log_warning("sandbox: %s is %llu, not %llu: raise the hard limit of the master", name, (unsigned long long)now.rlim_max,
                    (unsigned long long)value);
        value = now.rlim_max;
    }
    if (setrlimit((__rlimit_resource_t)resource, &(struct rlimit){value, value}) != 0)
        return error_set(error, "sandbox: cannot set %s to %llu: %s", name, (unsigned long long)value, strerror(errno));
    return 0;
}

/* A log that is a file must be able to grow. */
static bool logs_to_file(void)
{
    struct stat st;
    return (fstat(log_descriptor(), &st) == 0 && S_ISREG(st.st_mode)) || (fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode));
}

static int set_limits(const struct sandbox *sandbox, bool unprivileged, struct layers layers, struct error *error)
{
    bool alone = layers.no_processes && !unprivileged && !(sandbox->calls & (SANDBOX_FORK | SANDBOX_THREADS));
    if (limit(RLIMIT_CORE, "RLIMIT_CORE", 0, error) != 0)
        return -1;
    if (sandbox->open_files > 0 && limit(RLIMIT_NOFILE, "RLIMIT_NOFILE", sandbox->open_files, error) != 0)
        return -1;
    if (!logs_to_file() && limit(RLIMIT_FSIZE, "RLIMIT_FSIZE", sandbox->file_size, error) != 0)
        return -1;
    /* Counts all processes of the user: an ordinary user has others. */
    if (alone && limit(RLIMIT_NPROC, "RLIMIT_NPROC", 0, error) != 0)
        return -1;
    return 0;
}

static int change_root(const char *root, struct error *error)
{
    if (chroot(root) != 0)
        return error_set(error, "sandbox: cannot make %s the root directory: %s: make it an empty directory of root's", root,
                         strerror(errno));
    if (chdir("/") != 0)
        return error_set(error, "sandbox: cannot enter the root directory %s: %s", root, strerror(errno));
    return 0;
}

static int leave_root_user(const struct sandbox *sandbox, struct layers layers, struct error *error)
{
    if (layers.root && sandbox->root != NULL && change_root(sandbox->root, error) != 0)
        return -1;
    return sandbox_user_set(sandbox, error);
}

/* No core, no debugger; and an exec gives nothing. */
static int close_process(struct error *error)
{
    unsigned long dumpable = 0;
#ifdef POSTINO_SANITIZER
    dumpable = 1; /* for the tracer that looks for leaks */
#endif
    if (prctl(PR_SET_DUMPABLE, dumpable, 0, 0, 0) != 0)
        return error_set(error, "sandbox: cannot forbid core dumps: %s", strerror(errno));
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return error_set(error, "sandbox: cannot set no_new_privs: %s", strerror(errno));
    return 0;
}

int sandbox_enter(const struct sandbox *sandbox, bool unprivileged, struct error *error)
{
    struct layers layers = layers_wanted();
    int ruleset = -1;
    load_time_zone();
    if (check_paths(sandbox, error) != 0 || set_limits(sandbox, unprivileged, layers, error) != 0)
        return -1;
    if (layers.landlock && sandbox_files_prepare(sandbox, &ruleset, error) != 0)
        return -1;
    if (unprivileged ? sandbox_capabilities_none(error) != 0 : leave_root_user(sandbox, layers, error) != 0)
        return -1;
    if (close_process(error) != 0 || sandbox_files_restrict(ruleset, error) != 0)
        return -1;
    return layers.seccomp ? sandbox_calls_restrict(sandbox, error) : 0;
}
