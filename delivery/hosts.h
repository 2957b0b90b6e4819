/* hosts: the addresses that a next hop stands for, in the order to try them: host after host as dns says; of one host (RFC 8305 4) IPv6 and IPv4 in turn,
 * IPv6 first unless what is remembered (reach.h) speaks against it, and those that failed lately behind all others. */
#ifndef POSTINO_HOSTS_H
#define POSTINO_HOSTS_H

#include "common/messages.h"
#include "delivery/nexthop.h"

/* Addresses tried for one message at most. It bounds our stack too: one that is of no use at once (it can't be secure enough, our source is ill) is given up
 * within the call that began the one before (connect.c, attempt.c), at up to a KiB each. */
#define HOSTS_MAX 64

struct host {
    char *name; /* the MX host, or the next hop's own name: what its certificate must prove */
    struct sockaddr_storage address;
    socklen_t address_length;
    char text[112]; /* of the address, without port; of a socket the path */
    enum dane_verdict dane;
    char *base, *tlsa; /* as in RECORD_host; "" when there is none */
    unsigned preference;
    unsigned record; /* addresses of one host have one number */
    bool over;       /* not to be tried (again) */
};

struct hosts {
    struct host *v;
    size_t n;
    char left_out[400];  /* the last address that mail must not go to, and why; "" when there was none */
    const char *setting; /* what stands behind that for the administrator; left_out is "": NULL */
    bool unresolved;     /* a host had no address to be had */
    unsigned missing;    /* unresolved: the best preference of such hosts */
    unsigned records;
};

/* From the next hop itself (NEXTHOP_ADDRESS, NEXTHOP_SOCKET), or from the answer of dns. */
void hosts_of_address(struct hosts *, const struct nexthop *, const struct settings *);
void hosts_of_answer(struct hosts *, const struct nexthop *, const struct settings *, struct list answer, uint64_t now);
/* Leaves out the addresses of a family that is not to be kept. */
void hosts_keep(struct hosts *, bool ipv4, bool ipv6);
/* The first that is not over, of the family or (AF_UNSPEC) of any, but for one of them; h->n: there is none. */
size_t hosts_first(const struct hosts *, int family, size_t but_for);
int hosts_other_family(int family);
void hosts_free(struct hosts *);

#endif
