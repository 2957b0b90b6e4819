/* Who is believed when it speaks for others: proxies, and who may XCLIENT and XFORWARD. */
#include "conf/check.h"

#include "common/address.h"

static unsigned line_in(const struct check *c, size_t listener, const char *name)
{
    return places_line_in(c->places, SETTINGS_LISTENERS, listener, name);
}

/* Everybody is nobody in particular: whoever connects could then be whom he likes. */
static void check_believed(const struct check *c, unsigned line, const char *name, const char *text)
{
    struct network network;
    if (!network_parse(span_of(text), &network))
        report_error(c->report, line, "%s \"%s\" is not a network; write an address, or one with a prefix length, as in 10.0.0.0/8", name,
                     text);
    else if (network.bits == 0)
        report_error(c->report, line, "%s \"%s\" would let everybody say who he is; name the hosts that may", name, text);
}

void check_proxy(const struct check *c, size_t i)
{
    const struct settings_listener *l = &c->settings->listeners[i];
    if (places_refused(c->places, SETTINGS_LISTENERS, i, "listener", "proxy"))
        return;
    for (size_t k = 0; k < l->proxy_from.n; k++)
        check_believed(c, line_in(c, i, "proxy_from"), "proxy_from", l->proxy_from.v[k]);
    if (l->proxy && l->proxy_from.n == 0)
        report_error(c->report, line_in(c, i, "proxy"),
                     "listener \"%s\" waits for a proxy, and believes none; add proxy_from = { \"192.0.2.1\" } with the proxy's address",
                     l->title);
    else if (!l->proxy && l->proxy_from.n > 0)
        report_error(c->report, line_in(c, i, "proxy_from"), "listener \"%s\" has proxy_from without a proxy; add proxy = yes", l->title);
}

static void check_peer_list(const struct check *c, const char *name, const struct strings *list)
{
    for (size_t i = 0; i < list->n; i++)
        check_believed(c, places_line_item(c->places, "", name, i, list->n), name, list->v[i]);
}

void check_peers(const struct check *c)
{
    check_peer_list(c, "xclient_from", &c->settings->xclient_from);
    check_peer_list(c, "xforward_from", &c->settings->xforward_from);
}
