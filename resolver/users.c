#include "resolver/users.h"

#include "common/sandbox.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#define RECORD_FIRST ((size_t)4 << 10)
#define RECORD_MOST  ((size_t)1 << 20)

/* A name that is there and one that is nowhere: then every service of nsswitch.conf was asked once. */
void users_warm_up(void)
{
    char name[USER_NAME];
    users_find("root", name);
    users_find("postino-no-such-user", name);
}

void users_sandbox(struct sandbox *out)
{
    sandbox_user_database(out);
}

/* ENOENT and ESRCH are ways to say "no such user"; all other errors mean that nobody could tell. */
static enum user_result result_of(int status, const struct passwd *found, char canonical[USER_NAME])
{
    if (found == NULL)
        return status == 0 || status == ENOENT || status == ESRCH ? USER_ABSENT : USER_FAILED;
    if (found->pw_uid == 0)
        return USER_ROOT;
    return (size_t)snprintf(canonical, USER_NAME, "%s", found->pw_name) < USER_NAME ? USER_FOUND : USER_ABSENT;
}

enum user_result users_find(const char *name, char canonical[USER_NAME])
{
    for (size_t n = RECORD_FIRST; n <= RECORD_MOST; n *= 4) {
        struct passwd record, *found = NULL;
        char *buffer = malloc(n);
        if (buffer == NULL)
            break;
        int status = getpwnam_r(name, &record, buffer, n, &found);
        enum user_result result = result_of(status, found, canonical);
        free(buffer);
        if (status != ERANGE)
            return result;
    }
    return USER_FAILED;
}
