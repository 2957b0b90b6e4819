#include "sts/public.h"

#include "common/address.h"

static bool is_public(struct span text)
{
    static const char *const others[] = {"0.0.0.0/8",     "10.0.0.0/8",     "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
                                         "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3", "::/96",
                                         "64:ff9b::/96",  "64:ff9b:1::/48", "2002::/16",     "fc00::/7",    "fe80::/9",
                                         "ff00::/8",      "2001::/32"};
    struct sockaddr_storage address;
    socklen_t length;
    struct network network;
    if (!address_to_socket(text, 443, &address, &length))
        return false;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (!network_parse(span_of(others[i]), &network) || network_contains(&network, (const struct sockaddr *)&address))
            return false;
    return true;
}

void public_addresses(struct span list, struct buf *out)
{
    while (list.n) {
        struct span one = span_until(&list, ' ');
        if (!is_public(one))
            continue;
        if (out->len)
            buf_add_char(out, ' ');
        buf_add_span(out, one);
    }
}
