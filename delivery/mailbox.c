#include "delivery/mailbox.h"

#include "common/clock.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool mailbox_path_ok(struct span path)
{
    if (path.n && path.p[path.n - 1] == '/')
        path.n--;
    if (path.n == 0 || path.n > 900)
        return false;
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
            return false;
    for (;;) {
        const char *slash = memchr(path.p, '/', path.n);
        size_t n = slash ? (size_t)(slash - path.p) : path.n;
        if (n == 0 || n > 255 || (n == 1 && path.p[0] == '.') || (n == 2 && path.p[0] == '.' && path.p[1] == '.'))
            return false;
        if (!slash)
            return true;
        path = (struct span){path.p + n + 1, path.n - n - 1};
    }
}

static int set_path(char *to, size_t room, struct span path, struct local_outcome *o)
{
    if (path.n && path.p[path.n - 1] == '/')
        path.n--;
    int n = snprintf(to, room, "%.*s", SPAN_ARG(path));
    if (n < 0 || (size_t)n >= room)
        return local_deferred(o, "4.3.5", "mailbox path is too long: %.100s...", to);
    return 0;
}

/* ---- users ----------------------------------------------------------------------------------------------------------------------- */

enum { USER_BYTES = 64 << 10, USERS_KEPT = 64 };

/* What the user database said a moment ago; by name, or by number. */
static struct user {
    uint64_t until; /* 0: empty */
    bool by_number;
    char name[sizeof((struct mailbox *)NULL)->user]; /* as it was asked for */
    struct mailbox who;                              /* uid, gid, groups, user */
    char home[sizeof((struct mailbox *)NULL)->base];
} kept[USERS_KEPT];

static struct user *place_of(const char *name)
{
    unsigned hash = 5381;
    for (const char *p = name; *p; p++)
        hash = hash * 33 + (unsigned char)*p;
    return &kept[hash % USERS_KEPT];
}

static int set_groups(struct mailbox *m, const char *user, struct local_outcome *o)
{
    gid_t groups[MAILBOX_GROUPS];
    int n = MAILBOX_GROUPS;
    if (getgrouplist(user, m->gid, groups, &n) < 0)
        return local_deferred(o, "4.3.5", "user %s is in more than %d groups; take it out of some", user, MAILBOX_GROUPS);
    m->group_count = 0;
    for (int i = 0; i < n; i++)
        if (groups[i] != 0)
            m->groups[m->group_count++] = groups[i];
    return 0;
}

static int refuse_root(const struct mailbox *m, struct local_outcome *o)
{
    if (m->uid == 0)
        return local_deferred(o, "4.3.5",
                              "nothing is ever delivered as root; make an alias from %s to a person in /etc/aliases, or set another owner",
                              m->user);
    if (m->gid == 0)
        return local_deferred(o, "4.3.5", "nothing is ever delivered with root's group; give user %s a group of its own", m->user);
    return 0;
}

static int keep(struct user *u, const char *name, bool by_number, const struct passwd *pw, struct local_outcome *o)
{
    *u = (struct user){.by_number = by_number, .who = {.uid = pw->pw_uid, .gid = pw->pw_gid}};
    (void)snprintf(u->name, sizeof u->name, "%s", name);
    (void)snprintf(u->who.user, sizeof u->who.user, "%s", pw->pw_name);
    if (refuse_root(&u->who, o) < 0 || set_groups(&u->who, pw->pw_name, o) < 0)
        return -1;
    if ((size_t)snprintf(u->home, sizeof u->home, "%s", pw->pw_dir) >= sizeof u->home)
        return local_deferred(o, "4.3.5", "the home directory of user %s has too long a path", name);
    u->until = clock_monotonic_ms() + MAILBOX_USER_SECONDS * 1000;
    return 0;
}

/* A number that no user has is its own group, and in no other. */
static int keep_number(struct user *u, const char *name, uid_t uid, struct local_outcome *o)
{
    *u = (struct user){.by_number = true, .who = {.uid = uid, .gid = (gid_t)uid, .groups = {(gid_t)uid}, .group_count = 1}};
    (void)snprintf(u->name, sizeof u->name, "%s", name);
    (void)snprintf(u->who.user, sizeof u->who.user, "%s", name);
    if (refuse_root(&u->who, o) < 0)
        return -1;
    u->until = clock_monotonic_ms() + MAILBOX_USER_SECONDS * 1000;
    return 0;
}

/* 1: found, and may get mail; 0: there is no such user; -1: the outcome says what is wrong. `uid`: asks for this number, which is somebody. */
static int find_user(const char *name, const uid_t *uid, const struct user **out, struct local_outcome *o)
{
    char room[USER_BYTES];
    struct passwd pw, *found = NULL;
    struct user *u = place_of(name);
    *out = u;
    if (u->until > clock_monotonic_ms() && u->by_number == (uid != NULL) && strcmp(u->name, name) == 0)
        return 1;
    int error = uid ? getpwuid_r(*uid, &pw, room, sizeof room, &found) : getpwnam_r(name, &pw, room, sizeof room, &found);
    if (error)
        return local_deferred(o, "4.3.0", "the user database cannot be asked about %s: %s; see /etc/nsswitch.conf", name, strerror(error));
    if (!found && uid)
        return keep_number(u, name, *uid, o) < 0 ? -1 : 1;
    if (!found)
        return 0;
    return keep(u, name, uid != NULL, found, o) < 0 ? -1 : 1;
}

static void be_user(struct mailbox *m, const struct user *u)
{
    m->uid = u->who.uid;
    m->gid = u->who.gid;
    m->group_count = u->who.group_count;
    memcpy(m->groups, u->who.groups, u->who.group_count * sizeof *m->groups);
    (void)snprintf(m->user, sizeof m->user, "%s", u->who.user);
}

/* ---- mailboxes = system ---------------------------------------------------------------------------------------------------------- */

static int find_system(const struct settings_domain *d, struct span name, struct mailbox *m, struct local_outcome *o)
{
    char user[sizeof m->user];
    const struct user *u;
    (void)snprintf(user, sizeof user, "%.*s", SPAN_ARG(name));
    if (name.n >= sizeof user)
        return local_failed(o, "5.1.1", "no such user: %.64s...", user);
    int found = find_user(user, NULL, &u, o);
    if (found < 0)
        return -1;
    if (found == 0)
        return local_failed(o, "5.1.1", "no such user: %s", user);
    be_user(m, u);
    if (u->home[0] != '/')
        return local_deferred(o, "4.3.5", "user %s has no home directory; give it one, or make an alias", user);
    if (!mailbox_path_ok(span_of(d->maildir)))
        return local_deferred(o, "4.3.5", "domain %s: maildir = %s is no path below a home directory; correct it", d->title, d->maildir);
    return set_path(m->base, sizeof m->base, span_of(u->home), o) < 0 ? -1 : set_path(m->path, sizeof m->path, span_of(d->maildir), o);
}

/* ---- mailboxes = a map ----------------------------------------------------------------------------------------------------------- */

static bool number(const char *text, uid_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    unsigned long n = strtoul(text, &end, 10);
    *out = (uid_t)n;
    return errno == 0 && *end == '\0' && n < (uid_t)-1;
}

static int be_owner(const struct settings_domain *d, bool unprivileged, struct mailbox *m, struct local_outcome *o)
{
    const struct user *u;
    uid_t uid = 0;
    bool own = d->owner[0] == '\0' && unprivileged;
    bool by_number = own || number(d->owner, &uid);
    if (own)
        uid = getuid();
    else if (d->owner[0] == '\0')
        return local_deferred(o, "4.3.5", "domain %s has no owner; set one", d->title);
    int found = find_user(d->owner, by_number ? &uid : NULL, &u, o);
    if (found == 0)
        return local_deferred(o, "4.3.5", "domain %s: there is no user %s to be its owner; make it, or set another", d->title, d->owner);
    if (found < 0)
        return -1;
    be_user(m, u);
    return 0;
}

static int find_virtual(const struct settings_domain *d, struct span path, bool unprivileged, struct mailbox *m, struct local_outcome *o)
{
    if (d->directory[0] != '/')
        return local_deferred(o, "4.3.5", "domain %s has a map of mailboxes, and no directory for them; set one", d->title);
    if (!mailbox_path_ok(path))
        return local_deferred(o, "4.3.5", "domain %s: mailbox \"%.*s\" is no path below %.200s; correct the map", d->title,
                              (int)(path.n < 200 ? path.n : 200), path.p, d->directory);
    if (be_owner(d, unprivileged, m, o) < 0)
        return -1;
    m->shared = true;
    return set_path(m->base, sizeof m->base, span_of(d->directory), o) < 0 ? -1 : set_path(m->path, sizeof m->path, path, o);
}

int mailbox_find(const struct settings *s, struct span domain, struct span name, bool unprivileged, struct mailbox *m,
                 struct local_outcome *o)
{
    *m = (struct mailbox){0};
    const struct settings_domain *d = settings_domain(s, domain);
    if (!d)
        return local_deferred(o, "4.3.5", "there is no domain \"%.*s\" in this configuration; add it, or delete the message",
                              SPAN_ARG(domain));
    if (name.n == 0)
        return local_deferred(o, "4.3.5", "domain %s: the recipient has no mailbox; correct the map", d->title);
    bool system = strcmp(d->mailboxes, "system") == 0;
    if ((system ? find_system(d, name, m, o) : find_virtual(d, name, unprivileged, m, o)) < 0)
        return -1;
    if (unprivileged && m->uid != geteuid())
        return local_deferred(o, "4.3.5", "without root only uid %u's own mailboxes can be written, and this one is uid %u's (%s)",
                              (unsigned)geteuid(), (unsigned)m->uid, m->user);
    return 0;
}

bool mailbox_same(const struct mailbox *a, const struct mailbox *b)
{
    return a->uid == b->uid && a->gid == b->gid && a->group_count == b->group_count &&
           memcmp(a->groups, b->groups, a->group_count * sizeof *a->groups) == 0 && strcmp(a->base, b->base) == 0 &&
           strcmp(a->path, b->path) == 0;
}
