#include "smtpd/proxy.h"

#include "common/address.h"
#include "common/crc32c.h"

static const char v1_start[] = "PROXY ";
static const char v2_start[] = "\r\n\r\n\0\r\nQUIT\n"; /* the last octet of the array is not of it */

#define V1_START (sizeof v1_start - 1)
#define V2_START (sizeof v2_start - 1)
#define V2_FIXED ((size_t)16) /* signature, version and command, family, length */

static enum proxy_result refuse(struct proxy *p, const char *why)
{
    p->why = why;
    return PROXY_REFUSED;
}

/* ---- version 1 ------------------------------------------------------------------------------------------------------------------- */

/* The word up to the next blank, which has to be there unless it is the last. */
static bool take_word(struct span *rest, bool last, struct span *word)
{
    bool more = span_cut(rest, ' ', word);
    return word->n > 0 && more != last;
}

/* Decimal, without a zero in front. */
static bool take_port(struct span word, unsigned *port)
{
    *port = 0;
    if (word.n == 0 || word.n > 5 || (word.p[0] == '0' && word.n > 1))
        return false;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        *port = *port * 10 + (unsigned)(word.p[i] - '0');
    }
    return *port <= 65535;
}

static bool make_address(struct span text, struct span port, int family, struct sockaddr_storage *out)
{
    unsigned number;
    socklen_t length;
    return take_port(port, &number) && address_to_socket(text, number, out, &length) && out->ss_family == family;
}

/* "TCP4 192.0.2.7 192.0.2.1 40000 25" */
static enum proxy_result v1_words(struct span line, struct proxy *p)
{
    struct span family, from, to, from_port, to_port;
    struct span rest = line;
    take_word(&rest, false, &family);
    if (span_equal(family, SPAN_LITERAL("UNKNOWN")))
        return PROXY_NOBODY;
    bool six = span_equal(family, SPAN_LITERAL("TCP6"));
    if (!six && !span_equal(family, SPAN_LITERAL("TCP4")))
        return refuse(p, "a version 1 header that is neither TCP4, TCP6 nor UNKNOWN");
    if (!take_word(&rest, false, &from) || !take_word(&rest, false, &to) || !take_word(&rest, false, &from_port) ||
        !take_word(&rest, true, &to_port))
        return refuse(p, "a version 1 header with too few or too many words");
    if (!make_address(from, from_port, six ? AF_INET6 : AF_INET, &p->client) ||
        !make_address(to, to_port, six ? AF_INET6 : AF_INET, &p->server))
        return refuse(p, "a version 1 header with an address or a port that can't be");
    return PROXY_CLIENT;
}

static enum proxy_result parse_v1(struct span in, struct proxy *p)
{
    const char *lf = memchr(in.p, '\n', in.n < PROXY_V1_MOST ? in.n : PROXY_V1_MOST);
    if (!lf)
        return in.n < PROXY_V1_MOST ? PROXY_MORE : refuse(p, "a version 1 header of more than 107 octets");
    p->length = (size_t)(lf - in.p) + 1;
    if (p->length < 2 || lf[-1] != '\r')
        return refuse(p, "a version 1 header that does not end with CR LF");
    return v1_words(span_make(in.p + V1_START, p->length - V1_START - 2), p);
}

/* ---- version 2 ------------------------------------------------------------------------------------------------------------------- */

enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
enum { FAMILY_UNSPEC = 0x00, FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21, FAMILY_UNIX = 0x31 };
enum { TLV_CRC32C = 0x03 };

static unsigned u8(struct span s, size_t at)
{
    return (unsigned char)s.p[at];
}

static unsigned u16(struct span s, size_t at)
{
    return u8(s, at) << 8 | u8(s, at + 1);
}

/* Octets of the addresses; the TLVs are behind them. */
static size_t addresses_of(unsigned family)
{
    return family == FAMILY_TCP4 ? 12 : family == FAMILY_TCP6 ? 36 : family == FAMILY_UNIX ? 216 : 0;
}

/* From, to, and their ports. */
static void take_addresses(struct span s, size_t octets, struct proxy *p)
{
    address_of_octets(span_make(s.p, octets), u16(s, 2 * octets), &p->client);
    address_of_octets(span_make(s.p + octets, octets), u16(s, 2 * octets + 2), &p->server);
}

/* Of the whole header, with the checksum's own place taken for zeros. */
static bool checksum_holds(struct span header, size_t at)
{
    static const char zeros[4];
    uint32_t said = (uint32_t)u16(header, at) << 16 | u16(header, at + 2);
    uint32_t sum = crc32c(crc32c(0, header.p, at), zeros, sizeof zeros);
    return crc32c(sum, header.p + at + 4, header.n - at - 4) == said;
}

static enum proxy_result check_tlvs(struct span header, size_t at, struct proxy *p)
{
    bool summed = false;
    while (at < header.n) {
        if (header.n - at < 3 || u16(header, at + 1) > header.n - at - 3)
            return refuse(p, "a TLV that reaches beyond its header");
        size_t n = u16(header, at + 1);
        if (u8(header, at) == TLV_CRC32C) {
            if (n != 4 || summed || !checksum_holds(header, at + 3))
                return refuse(p, "a checksum that does not hold");
            summed = true;
        }
        at += 3 + n;
    }
    return PROXY_CLIENT;
}

static enum proxy_result v2_header(struct span header, struct proxy *p)
{
    unsigned command = u8(header, 12), family = u8(header, 13);
    size_t addresses = addresses_of(family);
    bool tcp = family == FAMILY_TCP4 || family == FAMILY_TCP6;
    if (!tcp && family != FAMILY_UNSPEC && family != FAMILY_UNIX && command != COMMAND_LOCAL)
        return refuse(p, "a version 2 header of a connection that is not TCP");
    if (command == COMMAND_LOCAL && header.n < V2_FIXED + addresses)
        addresses = 0;
    if (header.n < V2_FIXED + addresses)
        return refuse(p, "a version 2 header without room for its addresses");
    /* What follows a family that has no addresses has no form that is known. */
    enum proxy_result result = tcp || (family == FAMILY_UNIX && addresses) ? check_tlvs(header, V2_FIXED + addresses, p) : PROXY_CLIENT;
    if (result == PROXY_REFUSED)
        return result;
    if (command == COMMAND_LOCAL || !tcp)
        return PROXY_NOBODY;
    take_addresses(span_make(header.p + V2_FIXED, header.n - V2_FIXED), family == FAMILY_TCP4 ? 4 : 16, p);
    return PROXY_CLIENT;
}

static enum proxy_result parse_v2(struct span in, struct proxy *p)
{
    if (in.n > 12 && u8(in, 12) != COMMAND_LOCAL && u8(in, 12) != COMMAND_PROXY)
        return refuse(p, "a version or command that is not known");
    if (in.n < V2_FIXED)
        return PROXY_MORE;
    p->length = V2_FIXED + u16(in, 14);
    if (p->length > PROXY_V2_MOST)
        return refuse(p, "a version 2 header that is too long");
    return in.n < p->length ? PROXY_MORE : v2_header(span_make(in.p, p->length), p);
}

/* ---- both ------------------------------------------------------------------------------------------------------------------------ */

static bool may_begin(struct span in, const char *start, size_t n)
{
    return memcmp(in.p, start, in.n < n ? in.n : n) == 0;
}

enum proxy_result proxy_parse(struct span in, struct proxy *p)
{
    *p = (struct proxy){0};
    if (in.n == 0)
        return PROXY_MORE;
    if (may_begin(in, v1_start, V1_START))
        return in.n < V1_START ? PROXY_MORE : parse_v1(in, p);
    if (may_begin(in, v2_start, V2_START))
        return in.n < V2_START ? PROXY_MORE : parse_v2(in, p);
    return refuse(p, "no PROXY header");
}
