#include "delivery/proxy_out.h"

#include <netinet/in.h>

enum { VERSION_2_PROXY = 0x21, TCP_OVER_IPV4 = 0x11, TCP_OVER_IPV6 = 0x21 };

static void add_address(const struct sockaddr *a, struct buf *out)
{
    if (a->sa_family == AF_INET6)
        buf_add(out, &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, 16);
    else
        buf_add(out, &((const struct sockaddr_in *)(const void *)a)->sin_addr, 4);
}

static void add_port(const struct sockaddr *a, struct buf *out)
{
    buf_add(out,
            a->sa_family == AF_INET6 ? &((const struct sockaddr_in6 *)(const void *)a)->sin6_port
                                     : &((const struct sockaddr_in *)(const void *)a)->sin_port,
            2);
}

void proxy_out_header(const struct sockaddr *from, const struct sockaddr *to, struct buf *out)
{
    bool six = to->sa_family == AF_INET6;
    const unsigned char rest[] = {VERSION_2_PROXY, six ? TCP_OVER_IPV6 : TCP_OVER_IPV4, 0, six ? 36 : 12};
    buf_add(out, "\r\n\r\n\0\r\nQUIT\n", 12);
    buf_add(out, rest, sizeof rest);
    add_address(from, out);
    add_address(to, out);
    add_port(from, out);
    add_port(to, out);
}
