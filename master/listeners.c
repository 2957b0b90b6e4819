#include "master/listeners.h"

#include "common/address.h"
#include "common/log.h"
#include "common/orphan.h"
#include "master/holder.h"
#include "master/programs.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static bool same_address(const struct listener *a, const struct listener *b)
{
    return a->is_unix == b->is_unix && a->size == b->size && memcmp(&a->address, &b->address, a->size) == 0;
}

static unsigned port_of(const struct listener *l)
{
    return ntohs(((const struct sockaddr_in6 *)&l->address)->sin6_port); /* sin_port lies in the same place */
}

static void describe_address(const struct listener *l, struct buf *out)
{
    if (l->is_unix) {
        buf_add_text(out, ((const struct sockaddr_un *)&l->address)->sun_path);
        return;
    }
    bool bracket = l->address.ss_family == AF_INET6;
    buf_add_text(out, bracket ? "[" : "");
    address_of_socket((const struct sockaddr *)&l->address, out);
    buf_printf(out, "%s:%u", bracket ? "]" : "", port_of(l));
}

void listeners_describe(const struct listeners *all, struct buf *out)
{
    for (size_t i = 0; i < all->n; i++) {
        if (i > 0 && strcmp(all->v[i].name, all->v[i - 1].name) == 0) {
            buf_add_char(out, ',');
        } else {
            buf_add_text(out, i > 0 ? " " : "");
            buf_add_text(out, all->v[i].name);
            buf_add_char(out, '=');
        }
        describe_address(&all->v[i], out);
    }
}

/* ---- errors that can be acted on ----------------------------------------------------------------------------------------------- */

static int in_use(const char *what, unsigned port, struct error *error)
{
    char name[32];
    pid_t pid;
    if (!port_holder(port, &pid, name, sizeof name))
        return error_set(
            error, "%s: the port is in use by another process: another MTA? See who with `ss -ltnp`, and stop it or choose another port",
            what);
    if (pid == getpid())
        return error_set(error, "%s: the port is in use by this Postino itself, with another address: such a change needs a restart", what);
    return error_set(error, "%s: the port is in use by process %d (%s): another MTA? Stop it, or choose another port", what, (int)pid,
                     name);
}

static int bind_error(const struct listener *l, bool unprivileged, int cause, struct error *error)
{
    struct buf text = BUF_EMPTY(1024);
    unsigned port = port_of(l);
    buf_printf(&text, "listener \"%s\", ", l->name);
    describe_address(l, &text);
    if (cause == EADDRINUSE && !l->is_unix)
        in_use(buf_text(&text), port, error);
    else if (cause == EACCES && unprivileged && !l->is_unix && port < 1024)
        error_set(error, "%s: ports below 1024 need root", buf_text(&text));
    else if (cause == EADDRNOTAVAIL)
        error_set(error, "%s: this host does not have that address", buf_text(&text));
    else
        error_set(error, "%s: %s", buf_text(&text), strerror(cause));
    buf_free(&text);
    return -1;
}

/* ---- opening ------------------------------------------------------------------------------------------------------------------- */

static int open_inet(struct listener *l)
{
    int one = 1;
    l->fd = socket(l->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return -1;
    if (setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0)
        return -1;
    if (setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) /* accepted sockets inherit it */
        return -1;
    if (l->address.ss_family == AF_INET6 && setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) != 0)
        return -1;
    if (bind(l->fd, (struct sockaddr *)&l->address, l->size) != 0)
        return -1;
    return listen(l->fd, SOMAXCONN);
}

static bool in_use_by_orphan(const struct listener *l, struct orphan_wait *wait)
{
    pid_t pid = 0;
    char name[32];
    struct buf text = BUF_EMPTY(1024);
    (void)port_holder(port_of(l), &pid, name, sizeof name);
    describe_address(l, &text);
    bool again = orphan_wait(wait, pid, buf_text(&text));
    buf_free(&text);
    return again;
}

/* The programs of a master that was killed end by themselves. At a start we wait for one that is late. */
static int open_inet_at_start(struct listener *l)
{
    struct orphan_wait wait = {0};
    while (open_inet(l) != 0) {
        int cause = errno;
        if (cause != EADDRINUSE || !in_use_by_orphan(l, &wait)) {
            errno = cause;
            return -1;
        }
        close(l->fd);
        l->fd = -1;
    }
    return 0;
}

/* Somebody listens there. */
static bool is_alive(const struct listener *l)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool alive = fd >= 0 && (connect(fd, (const struct sockaddr *)&l->address, l->size) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return alive;
}

/* In RUN a socket that is there is left over, as the pid file is ours; elsewhere it may be another program's. Everybody may connect: smtpd and qmgr
 * look at who it is. */
static int open_unix(struct listener *l)
{
    const char *path = ((struct sockaddr_un *)&l->address)->sun_path;
    struct stat st;
    if (l->is_section && is_alive(l)) {
        errno = EADDRINUSE;
        return -1;
    }
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&l->address, l->size) != 0)
        return -1;
    return chmod(path, 0666) == 0 ? listen(l->fd, SOMAXCONN) : -1;
}

static const struct listener *find(const struct listeners *in, const struct listener *like)
{
    for (size_t i = 0; in && i < in->n; i++)
        if (same_address(&in->v[i], like))
            return &in->v[i];
    return NULL;
}

/* Adds `l` (its fd not open yet) to the list, even when it can't be opened: then errno tells why. */
static int add(struct listeners *all, const struct listener *like, const char *name, const struct listeners *former)
{
    struct listener *more = realloc(all->v, (all->n + 1) * sizeof *more);
    if (more == NULL)
        log_die("out of memory for listeners");
    all->v = more;
    struct listener *l = &more[all->n++];
    *l = *like;
    l->name = strdup(name);
    if (l->name == NULL)
        log_die("out of memory for listeners");
    const struct listener *there = find(former, l);
    if (there) {
        l->fd = fcntl(there->fd, F_DUPFD_CLOEXEC, 3);
        return l->fd < 0 ? -1 : 0;
    }
    return l->is_unix ? open_unix(l) : former ? open_inet(l) : open_inet_at_start(l);
}

static void drop_last(struct listeners *all)
{
    struct listener *l = &all->v[--all->n];
    if (l->fd >= 0)
        close(l->fd);
    free(l->name);
}

struct opening {
    struct listeners *all;
    const struct listeners *former;
    bool unprivileged;
    struct error *error;
};

/* `optional`: without IPv6 on this host, "all addresses" are those of IPv4. */
static int add_inet(const struct opening *o, const struct settings_listener *s, const char *address, bool optional)
{
    struct listener l = {.is_section = true, .fd = -1};
    if (!address_to_socket(span_of(address), (unsigned)s->port, &l.address, &l.size))
        return error_set(o->error, "listener \"%s\": \"%s\" is not an IP address", s->title, address);
    if (add(o->all, &l, s->title, o->former) == 0)
        return 0;
    int cause = errno;
    if (optional && (cause == EAFNOSUPPORT || cause == EADDRNOTAVAIL)) {
        drop_last(o->all);
        return 0;
    }
    return bind_error(&o->all->v[o->all->n - 1], o->unprivileged, cause, o->error);
}

static int add_unix(const struct opening *o, const char *name, const char *path, bool is_section)
{
    struct listener l = {.is_unix = true, .is_section = is_section, .fd = -1};
    struct sockaddr_un *address = (struct sockaddr_un *)&l.address;
    size_t n = strlen(path);
    address->sun_family = AF_UNIX;
    if (n >= sizeof address->sun_path)
        return error_set(o->error, "%s is too long for a socket's name: %zu octets at most", path, sizeof address->sun_path - 1);
    memcpy(address->sun_path, path, n);
    l.size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return add(o->all, &l, name, o->former) == 0 ? 0 : bind_error(&o->all->v[o->all->n - 1], o->unprivileged, errno, o->error);
}

static int add_section(const struct opening *o, const struct settings_listener *s)
{
    if (*s->socket)
        return add_unix(o, s->title, s->socket, true);
    for (size_t i = 0; i < s->address.n; i++)
        if (add_inet(o, s, s->address.v[i], false) != 0)
            return -1;
    if (s->address.n > 0)
        return 0;
    return add_inet(o, s, "::", true) != 0 ? -1 : add_inet(o, s, "0.0.0.0", false);
}

/* RUN/submit, RUN/queue */
static int add_own(const struct opening *o, const char *run, const char *name)
{
    struct buf path = BUF_EMPTY(8192);
    buf_printf(&path, "%s/%s", run, name);
    int result = add_unix(o, name, buf_text(&path), false);
    buf_free(&path);
    return result;
}

static int open_all(const struct opening *o, const struct settings *settings)
{
    for (size_t i = 0; i < settings->listener_count; i++)
        if (add_section(o, &settings->listeners[i]) != 0)
            return -1;
    for (size_t i = 0; i < PROGRAM_COUNT; i++)
        if (programs[i].unix_name && add_own(o, settings->directory_run, programs[i].unix_name) != 0)
            return -1;
    return 0;
}

int listeners_open(struct listeners *all, const struct settings *settings, const struct listeners *former, bool unprivileged,
                   struct error *error)
{
    struct opening o = {.all = all, .former = former, .unprivileged = unprivileged, .error = error};
    *all = (struct listeners){0};
    if (open_all(&o, settings) == 0)
        return 0;
    listeners_close(all);
    return -1;
}

void listeners_close(struct listeners *all)
{
    while (all->n > 0)
        drop_last(all);
    free(all->v);
    *all = (struct listeners){0};
}

void listeners_remove_sockets(const struct listeners *all, const struct listeners *but)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->v[i].is_unix && !find(but, &all->v[i]))
            unlink(((const struct sockaddr_un *)&all->v[i].address)->sun_path);
}
