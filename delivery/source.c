#include "delivery/source.h"
#include "delivery/session_internal.h"

#include "common/address.h"
#include "conf/pool.h"
#include "delivery/remote.h"

#include <errno.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

/* The source's address of that family; 0: it has none. */
static socklen_t address_of(const struct settings_source *source, int family, struct sockaddr_storage *out)
{
    socklen_t length;
    for (size_t i = 0; i < source->address.n; i++)
        if (address_to_socket(span_of(source->address.v[i]), 0, out, &length) && out->ss_family == family)
            return length;
    return 0;
}

static bool has_family(const struct settings_source *source, int family)
{
    struct sockaddr_storage address;
    return address_of(source, family, &address) > 0;
}

/* ---- which ----------------------------------------------------------------------------------------------------------------------- */

static bool reaches(const struct settings_source *source, const struct hosts *hosts)
{
    for (size_t i = 0; i < hosts->n; i++)
        if (has_family(source, hosts->v[i].address.ss_family))
            return true;
    return false;
}

/* What a source in warm-up may send is counted by qmgr, which chose another one: it is left out. */
static const struct settings_source *of_pool(const struct session *s)
{
    const struct strings *pool = pool_of(remote.settings, s->site->route);
    for (size_t i = 0; i < pool->n; i++) {
        const struct settings_source *source = pool_source(remote.settings, pool, i, NULL);
        if (source && pool_a_day(source, (uint64_t)time(NULL)) == 0 && reaches(source, &s->hosts))
            return source;
    }
    return NULL;
}

static void reaches_none(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_printf(&words, "next hop %s has no address of a family that source %s or another of its pool has; give one of them such an address",
               s->site->nexthop.name, s->site->source->title);
    session_log(s, buf_span(&words));
    session_give_up(s, VERDICT_DEFERRED, "4.3.5", false, buf_span(&words));
    buf_free(&words);
}

bool source_fit(struct session *s)
{
    s->source = s->site->source;
    if (!s->source || s->hosts.n == 0 || s->site->proxy.kind == PROXY_SOCKS5) /* its own address is what goes out */
        return true;
    if (!reaches(s->source, &s->hosts))
        s->source = of_pool(s);
    if (!s->source) {
        reaches_none(s);
        return false;
    }
    hosts_keep(&s->hosts, has_family(s->source, AF_INET), has_family(s->source, AF_INET6));
    return true;
}

/* ---- the socket ------------------------------------------------------------------------------------------------------------------ */

/* The port is chosen at connect, so that the ports of a busy source last for each next host anew. */
static int bind_to(int fd, const struct settings_source *source, int family, struct error *error)
{
    struct sockaddr_storage address;
    socklen_t length = address_of(source, family, &address);
    int on = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (length > 0 && bind(fd, (const struct sockaddr *)&address, length) == 0)
        return 0;
    return error_set(error, "source %s: its %s address can't be used: %s; give it to an interface, or correct the source", source->title,
                     family == AF_INET ? "IPv4" : "IPv6", length > 0 ? strerror(errno) : "there is none");
}

int source_socket(struct session *s, int family, struct error *error)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(error, "cannot make a socket: %s", strerror(errno));
    if (!s->source || s->site->proxy.kind != PROXY_NONE || bind_to(fd, s->source, family, error) == 0)
        return fd;
    s->own = OWN_SOURCE;
    close(fd);
    return -1;
}

bool source_address(const struct session *s, int family, struct sockaddr_storage *out)
{
    return s->source && address_of(s->source, family, out) > 0;
}

const char *source_hostname(const struct session *s)
{
    return s->source && *s->source->hostname ? s->source->hostname : remote.settings->hostname;
}
