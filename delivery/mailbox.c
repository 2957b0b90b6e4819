#include "delivery/mailbox.h"

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

enum { USER_BYTES = 64 << 10 };

/* 1: found; 0: there is no such user; -1: the user database gave no answer. */
static int find_user(const char *name, const uid_t *uid, struct passwd *pw, char room[USER_BYTES], struct local_outcome *o)
{
    struct passwd *found = NULL;
    int error = uid ? getpwuid_r(*uid, pw, room, USER_BYTES, &found) : getpwnam_r(name, pw, room, USER_BYTES, &found);
    if (error)
        return local_deferred(o, "4.3.0", "the user database cannot be asked about %s: %s; see /etc/nsswitch.conf", name, strerror(error));
    return found != NULL;
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

static int be_user(struct mailbox *m, const struct passwd *pw, struct local_outcome *o)
{
    m->uid = pw->pw_uid;
    m->gid = pw->pw_gid;
    (void)snprintf(m->user, sizeof m->user, "%s", pw->pw_name);
    return refuse_root(m, o) < 0 ? -1 : set_groups(m, pw->pw_name, o);
}

/* ---- mailboxes = system ---------------------------------------------------------------------------------------------------------- */

static int find_system(const struct settings_domain *d, struct span name, struct mailbox *m, struct local_outcome *o)
{
    char user[sizeof m->user], room[USER_BYTES];
    struct passwd pw;
    (void)snprintf(user, sizeof user, "%.*s", SPAN_ARG(name));
    if (name.n >= sizeof user)
        return local_failed(o, "5.1.1", "no such user: %.64s...", user);
    int found = find_user(user, NULL, &pw, room, o);
    if (found < 0)
        return -1;
    if (found == 0)
        return local_failed(o, "5.1.1", "no such user: %s", user);
    if (be_user(m, &pw, o) < 0)
        return -1;
    if (pw.pw_dir[0] != '/')
        return local_deferred(o, "4.3.5", "user %s has no home directory; give it one, or make an alias", user);
    if (!mailbox_path_ok(span_of(d->maildir)))
        return local_deferred(o, "4.3.5", "domain %s: maildir = %s is no path below a home directory; correct it", d->title, d->maildir);
    return set_path(m->base, sizeof m->base, span_of(pw.pw_dir), o) < 0 ? -1 : set_path(m->path, sizeof m->path, span_of(d->maildir), o);
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

/* A number that no user has is its own group, and in no other. */
static int be_owner(const struct settings_domain *d, bool unprivileged, struct mailbox *m, struct local_outcome *o)
{
    char room[USER_BYTES];
    struct passwd pw;
    uid_t uid = getuid();
    bool by_number = number(d->owner, &uid) || (d->owner[0] == '\0' && unprivileged);
    if (d->owner[0] == '\0' && !unprivileged)
        return local_deferred(o, "4.3.5", "domain %s has no owner; set one", d->title);
    (void)snprintf(m->user, sizeof m->user, "%s", d->owner);
    int found = find_user(d->owner, by_number ? &uid : NULL, &pw, room, o);
    if (found < 0)
        return -1;
    if (found)
        return be_user(m, &pw, o);
    if (!by_number)
        return local_deferred(o, "4.3.5", "domain %s: there is no user %s to be its owner; make it, or set another", d->title, d->owner);
    m->uid = uid;
    m->gid = (gid_t)uid;
    m->groups[0] = m->gid;
    m->group_count = 1;
    return refuse_root(m, o);
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
