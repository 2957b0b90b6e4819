/* address: mail addresses as RFC 5321 4.1.2 writes them, and the names and literals in them.
 *
 * The parser takes a span and gives spans into it; it allocates nothing. Limits of RFC 5321 4.5.3.1: local part 64, domain 255, path 256
 * octets (the local part is tolerated up to 128, as real senders make longer ones). Control characters are refused everywhere. Bytes over
 * 127 are accepted only where the caller allows them (SMTPUTF8, RFC 6531) and must then be well-formed UTF-8. */
#ifndef POSTINO_ADDRESS_H
#define POSTINO_ADDRESS_H

#include "common/buf.h"

#include <sys/socket.h>

struct address {
    struct span whole;  /* local@domain, or local alone; without the angle brackets or a source route; empty for <> */
    struct span local;  /* as written, quotes included */
    struct span domain; /* empty where there is none; "[192.0.2.1]" for a literal */
};

enum address_flags {
    ADDRESS_ALLOW_NULL = 1, /* <> (a reverse-path) */
    ADDRESS_ALLOW_BARE = 2, /* a local part alone (<postmaster>, local submission) */
    ADDRESS_ALLOW_UTF8 = 4,
};

/* Parses `<path>` at the front of `in`. On success moves `in` behind the ">" and returns true. A source route (@a,@b:) is skipped.
 * A path without angle brackets is taken up to the first blank (some clients send it). */
bool address_parse_path(struct span *in, int flags, struct address *out);
/* Parses a whole span as an address without angle brackets. */
bool address_parse(struct span in, int flags, struct address *out);

/* True for a host name of RFC 1123 labels (underscores tolerated), at most 255 octets, or with `utf8` one with UTF-8 labels. */
bool address_is_domain(struct span, bool utf8);
/* True for "[192.0.2.1]" and "[IPv6:2001:db8::1]"; fills `out` (port 0). */
bool address_literal(struct span, struct sockaddr_storage *out);

/* The local part without quoting where quoting is not needed, and with the domain in lower case: the key form used to look up and to
 * compare. `"john doe"@Example.ORG` stays quoted, `"john"@example.org` becomes john@example.org. The local part keeps its case. */
void address_canonical(const struct address *, struct buf *out);

/* Sockets: text of an address without port, as "192.0.2.1" or "2001:db8::1" (an IPv4-mapped one as IPv4), and back. */
void address_of_socket(const struct sockaddr *, struct buf *out);
bool address_to_socket(struct span text, unsigned port, struct sockaddr_storage *out, socklen_t *len);
/* Octets of an address in network order: 4 are IPv4, 16 IPv6. The length of `out`. */
socklen_t address_of_octets(struct span octets, unsigned port, struct sockaddr_storage *out);
/* A resolver: an address, or address@port; 53 when it has none. */
bool address_of_resolver(struct span text, struct sockaddr_storage *out, socklen_t *len);
/* In 127.0.0.0/8, or ::1: what is said there comes from this host. */
bool address_is_loopback(const struct sockaddr_storage *);

/* A network in CIDR form; "10.0.0.0/8", "::1", "192.0.2.7". The bits of the host must be zero. */
struct network {
    int family;
    unsigned bits;
    unsigned char bytes[16];
};
bool network_parse(struct span, struct network *out);
bool network_contains(const struct network *, const struct sockaddr *); /* an IPv4-mapped address matches IPv4 networks */

/* Whom an address stands for where clients are counted: by itself (of IPv6 the /64, which is what one customer has), by its network
 * (/24, /48), by its region (/16, /32). An IPv4-mapped one is the IPv4 address that it is. False: neither family; `out` is all 0. */
enum network_reach { REACH_CLIENT, REACH_NETWORK, REACH_REGION };
bool network_of(const struct sockaddr *, enum network_reach, struct network *out);

/* xtext of RFC 3461 4. Decoding refuses control characters in the result, and bytes over 127 that are not well-formed UTF-8; when it
 * refuses, `out` is as it was. */
bool xtext_decode(struct span in, struct buf *out);
void xtext_encode(struct span in, struct buf *out);
/* An address as utf-8-addr-xtext (RFC 6533 3): ASCII, whatever is in it; an octet that is no UTF-8 is taken for the code point of that
 * number. */
void xtext_encode_utf8(struct span in, struct buf *out);

#endif
