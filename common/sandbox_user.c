/* Users and capabilities, by raw system calls. */
#include "common/sandbox_internal.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int set_capabilities(uint32_t low, struct error *error)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = low, .permitted = low}};
    if (syscall(SYS_capset, &header, data) != 0)
        return error_set(error, "sandbox: cannot drop capabilities: %s", strerror(errno));
    return 0;
}

/* A container may not have it to give: then renewed files have to be readable for the program's user. */
static uint32_t read_any(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    return syscall(SYS_capget, &header, data) == 0 ? data[0].permitted & 1U << CAP_DAC_READ_SEARCH : 0;
}

static uint32_t kept_capabilities(const struct sandbox *sandbox)
{
    return (sandbox->keep_setuid ? 1U << CAP_SETUID | 1U << CAP_SETGID : 0) | (sandbox->keep_read_any ? read_any() : 0);
}

int sandbox_capabilities_none(struct error *error)
{
    return set_capabilities(0, error);
}

/* Nothing can be won back by an exec, not even by uid 0. */
static int drop_bounding_set(struct error *error)
{
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
            return error_set(error, "sandbox: cannot drop capability %lu: %s", capability, strerror(errno));
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
        return error_set(error, "sandbox: cannot clear the ambient capabilities: %s", strerror(errno));
    return 0;
}

static int change_user(uid_t uid, gid_t gid, const gid_t *groups, size_t n, struct error *error)
{
    if (uid == 0 || uid == (uid_t)-1 || gid == (gid_t)-1)
        return error_set(error, "sandbox: uid %u, gid %u is not a user to run as: use an ordinary user", uid, gid);
    if (setgroups(n, groups) != 0)
        return error_set(error, "sandbox: cannot set the groups of uid %u: %s", uid, strerror(errno));
    if (setresgid(gid, gid, gid) != 0)
        return error_set(error, "sandbox: cannot become gid %u: %s", gid, strerror(errno));
    if (setresuid(uid, uid, uid) != 0)
        return error_set(error, "sandbox: cannot become uid %u: %s", uid, strerror(errno));
    return 0;
}

static int check_user(uid_t uid, gid_t gid, struct error *error)
{
    uid_t ruid, euid, suid;
    gid_t rgid, egid, sgid;
    if (getresuid(&ruid, &euid, &suid) != 0 || getresgid(&rgid, &egid, &sgid) != 0)
        return error_set(error, "sandbox: cannot read back the user: %s", strerror(errno));
    if (ruid != uid || euid != uid || suid != uid || rgid != gid || egid != gid || sgid != gid)
        return error_set(error, "sandbox: the kernel did not make this process uid %u, gid %u", uid, gid);
    return 0;
}

int sandbox_user_set(const struct sandbox *sandbox, struct error *error)
{
    if (drop_bounding_set(error) != 0)
        return -1;
    uint32_t kept = kept_capabilities(sandbox);
    if (prctl(PR_SET_KEEPCAPS, kept != 0 ? 1 : 0, 0, 0, 0) != 0)
        return error_set(error, "sandbox: cannot keep capabilities: %s", strerror(errno));
    if (change_user(sandbox->uid, sandbox->gid, NULL, 0, error) != 0 || check_user(sandbox->uid, sandbox->gid, error) != 0)
        return -1;
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    if (set_capabilities(kept, error) != 0)
        return -1;
    if (!sandbox->keep_setuid && setresuid(0, 0, 0) == 0)
        return error_set(error, "sandbox: uid %u could become root again", sandbox->uid);
    return 0;
}

int sandbox_become(uid_t uid, gid_t gid, const gid_t *groups, size_t n, struct error *error)
{
    uid_t before = getuid();
    if (change_user(uid, gid, groups, n, error) != 0 || set_capabilities(0, error) != 0 || check_user(uid, gid, error) != 0)
        return -1;
    if (before != uid && before != 0 && setresuid(before, before, before) == 0)
        return error_set(error, "sandbox: uid %u could become uid %u again", uid, before);
    if (before == 0 && setresuid(0, 0, 0) == 0)
        return error_set(error, "sandbox: uid %u could become root again", uid);
    return 0;
}

/* A new one goes to the end: numbers that files on disk are owned by stay what they were. */
const char *const sandbox_programs[] = {"smtpd", "auth", "qmgr", "remote", "local", "dns", "route", "tlsmgr", "sts", "lmtp", "creds", NULL};

static int user_by_number(const char *users, const char *program, uid_t *uid, gid_t *gid, struct error *error)
{
    char *end;
    errno = 0;
    unsigned long first = strtoul(users, &end, 10);
    if (*end != '\0' || errno != 0 || first == 0 || first > INT32_MAX)
        return error_set(error, "users = \"%s\": not a first uid: use a number from 1 to %d, or a prefix of names", users, INT32_MAX);
    for (size_t i = 0; sandbox_programs[i]; i++)
        if (strcmp(sandbox_programs[i], program) == 0) {
            *uid = *gid = (uid_t)(first + i);
            return 0;
        }
    return error_set(error, "users = \"%s\": there is no uid for a program \"%s\"", users, program);
}

int sandbox_user(const char *users, const char *program, uid_t *uid, gid_t *gid, struct error *error)
{
    if (users[0] >= '0' && users[0] <= '9')
        return user_by_number(users, program, uid, gid, error);
    char name[256];
    if ((size_t)snprintf(name, sizeof name, "%s%s", users, program) >= sizeof name)
        return error_set(error, "users = \"%s\": the name is too long", users);
    errno = 0;
    const struct passwd *user = getpwnam(name);
    if (user == NULL)
        return error_set(error, "user %s: %s: make it (useradd --system %s), or set `users`", name,
                         errno != 0 ? strerror(errno) : "no such user", name);
    if (user->pw_uid == 0)
        return error_set(error, "user %s has uid 0: a program must not run as root: give it an uid of its own", name);
    *uid = user->pw_uid;
    *gid = user->pw_gid;
    return 0;
}

/* ---- who is not served ----------------------------------------------------------------------------------------------------------- */

#define BARRED_MOST 32

static uid_t barred[BARRED_MOST];
static size_t barred_count;

void sandbox_bar_programs(const char *users)
{
    struct error ignored;
    gid_t gid;
    barred_count = 0;
    for (size_t i = 0; sandbox_programs[i] && barred_count < BARRED_MOST; i++)
        if (strcmp(sandbox_programs[i], "sts") != 0 && sandbox_user(users, sandbox_programs[i], &barred[barred_count], &gid, &ignored) == 0)
            barred_count++;
}

bool sandbox_is_barred(uid_t uid)
{
    for (size_t i = 0; i < barred_count; i++)
        if (barred[i] == uid)
            return true;
    return false;
}
