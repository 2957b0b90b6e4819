#include "delivery/connect_proxy.h"

#include "delivery/proxy_out.h"
#include "delivery/remote.h"
#include "delivery/source.h"

bool connect_by_proxy(const struct session *s)
{
    return s->site->proxy.kind != PROXY_NONE;
}

static const struct sockaddr *address_of(const struct attempt *a)
{
    return (const struct sockaddr *)&a->session->hosts.v[a->at].address;
}

/* `why` of the next host's address; or of the proxy itself, and then no other address is tried. */
static void failed(struct attempt *a, const char *why, bool is_theirs)
{
    struct session *s = a->session;
    struct buf words = BUF_EMPTY(512);
    buf_printf(&words, "by proxy %s: %s", s->site->route->proxy, why);
    if (!is_theirs)
        s->own = OWN_PROXY;
    for (size_t i = 0; i < s->hosts.n && !is_theirs; i++)
        s->hosts.v[i].over = true;
    attempt_give_up(a, buf_text(&words), is_theirs);
    buf_free(&words);
}

static void say_from_where(struct attempt *a)
{
    struct sockaddr_storage from;
    if (!source_address(a->session, address_of(a)->sa_family, &from)) {
        failed(a, "there is no source to go from; add sources to the route", false);
        return;
    }
    proxy_out_header((const struct sockaddr *)&from, address_of(a), stream_output(a->stream));
    stream_flush_later(a->stream);
    attempt_arrived(a);
}

static void talk(struct attempt *a)
{
    a->talks = true;
    socks_begin(&a->socks, stream_output(a->stream));
    stream_flush_later(a->stream);
    stream_timeout(a->stream, remote.settings->remote_connect_timeout * 1000);
}

void connect_proxy_reached(struct attempt *a)
{
    if (a->session->site->proxy.kind == PROXY_SOCKS5)
        talk(a);
    else
        say_from_where(a);
}

void connect_proxy_said(struct attempt *a)
{
    struct stream *stream = a->stream;
    size_t used;
    enum socks_state state = socks_feed(&a->socks, stream_input(stream), address_of(a), &used, stream_output(stream));
    stream_consume(stream, used);
    stream_flush_later(stream);
    if (state == SOCKS_DONE)
        attempt_arrived(a);
    else if (state == SOCKS_FAILED)
        failed(a, a->socks.why, a->socks.is_theirs);
}

/* A proxy that was asked for a connection and does not answer waits for the next host. */
void connect_proxy_ended(struct attempt *a, enum stream_end end, const char *why)
{
    bool waits = a->talks && a->socks.state == SOCKS_REPLY && end == STREAM_TIMEOUT;
    failed(a, end == STREAM_TIMEOUT ? "Connection timed out" : end == STREAM_EOF ? "it hung up" : why, waits);
}
