/* hosts: the addresses that a next hop stands for, in the order to try them. */
#ifndef POSTINO_HOSTS_H
#define POSTINO_HOSTS_H

#include "common/messages.h"
#include "delivery/nexthop.h"

#define HOSTS_MAX 64 /* addresses tried for one message at most */

struct host {
    char *name; /* the MX host, or the next hop's own name: what its certificate must prove */
    struct sockaddr_storage address;
    socklen_t address_length;
    char text[112]; /* of the address, without port; of a socket the path */
    enum dane_verdict dane;
    char *base, *tlsa; /* as in RECORD_host; "" when there is none */
    unsigned preference;
};

struct hosts {
    struct host *v;
    size_t n;
    char left_out[400]; /* the last address that mail must not go to, and why; "" when there was none */
    bool unresolved;    /* a host had no address to be had */
    unsigned missing;   /* unresolved: the best preference of such hosts */
};

/* From the next hop itself (NEXTHOP_ADDRESS, NEXTHOP_SOCKET), or from the answer of dns. */
void hosts_of_address(struct hosts *, const struct nexthop *, const struct settings *);
void hosts_of_answer(struct hosts *, const struct nexthop *, const struct settings *, struct list answer);
void hosts_free(struct hosts *);

#endif
