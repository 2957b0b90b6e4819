/* Addresses of hosts and networks: literals, sockets, CIDR. */
#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* inet_pton() wants a string; a NUL inside must not shorten it. */
static bool to_binary(int family, struct span text, void *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, '\0', text.n) != NULL)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    return inet_pton(family, copy, out) == 1;
}

socklen_t address_of_octets(struct span octets, unsigned port, struct sockaddr_storage *out)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool four = octets.n == sizeof in.sin_addr;
    *out = (struct sockaddr_storage){0};
    if (four) {
        memcpy(&in.sin_addr, octets.p, sizeof in.sin_addr);
        memcpy(out, &in, sizeof in);
    } else {
        memcpy(&in6.sin6_addr, octets.p, sizeof in6.sin6_addr);
        memcpy(out, &in6, sizeof in6);
    }
    return four ? sizeof in : sizeof in6;
}

static bool to_socket4(struct span text, unsigned port, struct sockaddr_storage *out, socklen_t *len)
{
    struct in_addr octets;
    bool good = to_binary(AF_INET, text, &octets);
    if (good)
        *len = address_of_octets(span_make(&octets, sizeof octets), port, out);
    return good;
}

static bool to_socket6(struct span text, unsigned port, struct sockaddr_storage *out, socklen_t *len)
{
    struct in6_addr octets;
    bool good = to_binary(AF_INET6, text, &octets);
    if (good)
        *len = address_of_octets(span_make(&octets, sizeof octets), port, out);
    return good;
}

bool address_to_socket(struct span text, unsigned port, struct sockaddr_storage *out, socklen_t *len)
{
    return port <= UINT16_MAX && (to_socket4(text, port, out, len) || to_socket6(text, port, out, len));
}

bool address_literal(struct span text, struct sockaddr_storage *out)
{
    static const struct span tag = SPAN_LITERAL("IPv6:");
    socklen_t len;
    if (text.n < 2 || text.p[0] != '[' || text.p[text.n - 1] != ']')
        return false;
    struct span inside = {text.p + 1, text.n - 2};
    if (inside.n > tag.n && span_equal_nocase(span_make(inside.p, tag.n), tag))
        return to_socket6(span_make(inside.p + tag.n, inside.n - tag.n), 0, out, &len);
    return to_socket4(inside, 0, out, &len);
}

/* The address in network byte order; a mapped one as the IPv4 address that it is. 0: neither family. */
static int socket_bytes(const struct sockaddr *socket, unsigned char bytes[16])
{
    if (socket->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, socket, sizeof in);
        memcpy(bytes, &in.sin_addr, 4);
        return AF_INET;
    }
    if (socket->sa_family != AF_INET6)
        return 0;
    struct sockaddr_in6 in6;
    memcpy(&in6, socket, sizeof in6);
    bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
    memcpy(bytes, in6.sin6_addr.s6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    return mapped ? AF_INET : AF_INET6;
}

void address_of_socket(const struct sockaddr *socket, struct buf *out)
{
    unsigned char bytes[16];
    char text[INET6_ADDRSTRLEN];
    int family = socket_bytes(socket, bytes);
    if (family != 0 && inet_ntop(family, bytes, text, sizeof text) != NULL)
        buf_add_text(out, text);
}

/* A prefix length: digits without a sign, blanks, or leading zeros. */
static bool parse_bits(struct span text, unsigned most, unsigned *bits)
{
    unsigned value = 0;
    if (text.n == 0 || text.n > 3 || (text.n > 1 && text.p[0] == '0'))
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.p[i] - '0');
    }
    *bits = value;
    return value <= most;
}

static bool same_prefix(const unsigned char *a, const unsigned char *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool host_bits_are_zero(const struct network *network)
{
    unsigned width = network->family == AF_INET ? 32 : 128;
    for (unsigned bit = network->bits; bit < width; bit++)
        if (network->bytes[bit / 8] & (0x80 >> bit % 8))
            return false;
    return true;
}

/* ::ffff:10.0.0.0/104 is 10.0.0.0/8: a client is looked up as IPv4 whichever way it came. */
static void unmap(struct network *network)
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (network->family != AF_INET6 || network->bits < 96 || memcmp(network->bytes, mapped, sizeof mapped) != 0)
        return;
    memmove(network->bytes, network->bytes + 12, 4);
    memset(network->bytes + 4, 0, 12);
    network->family = AF_INET;
    network->bits -= 96;
}

bool network_parse(struct span text, struct network *out)
{
    const char *slash = text.n > 0 ? memchr(text.p, '/', text.n) : NULL;
    struct span host = {text.p, slash != NULL ? (size_t)(slash - text.p) : text.n};
    struct network network = {.family = AF_INET, .bits = 32};
    if (!to_binary(AF_INET, host, network.bytes)) {
        network = (struct network){.family = AF_INET6, .bits = 128};
        if (!to_binary(AF_INET6, host, network.bytes))
            return false;
    }
    if (slash != NULL && !parse_bits(span_make(slash + 1, text.n - host.n - 1), network.bits, &network.bits))
        return false;
    if (!host_bits_are_zero(&network))
        return false;
    unmap(&network);
    *out = network;
    return true;
}

bool network_of(const struct sockaddr *socket, enum network_reach reach, struct network *out)
{
    static const unsigned v4[] = {32, 24, 16}, v6[] = {64, 48, 32};
    struct network network = {.family = 0};
    network.family = socket_bytes(socket, network.bytes);
    network.bits = network.family == AF_INET ? v4[reach] : network.family == AF_INET6 ? v6[reach] : 0;
    memset(network.bytes + network.bits / 8, 0, sizeof network.bytes - network.bits / 8);
    *out = network;
    return network.family != 0;
}

bool network_contains(const struct network *network, const struct sockaddr *socket)
{
    unsigned char bytes[16] = {0};
    return socket_bytes(socket, bytes) == network->family && same_prefix(network->bytes, bytes, network->bits);
}

/* ---- resolvers ------------------------------------------------------------------------------------------------------------------- */

static bool port_of(struct span text, unsigned *port)
{
    *port = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || *port > 6553)
            return false;
        *port = *port * 10 + (unsigned)(text.p[i] - '0');
    }
    return *port > 0 && *port < 65536;
}

bool address_of_resolver(struct span text, struct sockaddr_storage *out, socklen_t *len)
{
    unsigned port = 53;
    const char *at = text.n ? memchr(text.p, '@', text.n) : NULL;
    if (at != NULL && !port_of(span_make(at + 1, text.n - (size_t)(at - text.p) - 1), &port))
        return false;
    return address_to_socket(span_make(text.p, at ? (size_t)(at - text.p) : text.n), port, out, len);
}

bool address_is_loopback(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET)
        return (ntohl(((const struct sockaddr_in *)ss)->sin_addr.s_addr) >> 24) == 127;
    return ss->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}
