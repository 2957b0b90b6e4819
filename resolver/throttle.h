/* throttle: how much strangers do, by address (IPv6: /64) and by network (/24, /48), and whether that is too much: sessions at a time,
 * and rates a minute.
 *
 * A rate leaks: what is full has room for one more when a minute divided by the limit is over, so that a client that keeps to its limit is
 * never refused, and at most twice the limit comes in any minute. What is refused is not counted. Rates are kept in tables of fixed size
 * (resolver/fairtable.h); sessions in one that has an entry for each client that has one, and so is bounded by the sessions. All is
 * forgotten when the process ends. Time is an argument: microseconds that only go forward. */
#ifndef POSTINO_THROTTLE_H
#define POSTINO_THROTTLE_H

#include "common/span.h"

#include <stdint.h>

enum throttle_rate {
    THROTTLE_CONNECTIONS,
    THROTTLE_MESSAGES,
    THROTTLE_RECIPIENTS,
    THROTTLE_ERRORS,
    THROTTLE_TLS,
    THROTTLE_AUTH,
    THROTTLE_RATES
};

struct throttle_limits {
    uint64_t sessions;              /* at a time; 0: no limit, here and below */
    uint64_t rates[THROTTLE_RATES]; /* a minute */
    uint64_t networks;              /* so many times as much for a network; 0: networks are not counted */
};

/* Which limit would be exceeded, and by whom. */
struct throttle_excess {
    const char *limit; /* as the setting is called: "sessions", "connections" */
    uint64_t most, count;
    bool network; /* the address's network, not itself */
};

/* Who has a session; to leave with. */
struct throttle_guest {
    uint64_t address, network;
};

struct throttle;

struct throttle *throttle_new(const struct throttle_limits *);
void throttle_free(struct throttle *);

/* One session more. False, and nothing is counted: it would be one too many. With `excess` NULL it is counted whatever the limits are. */
bool throttle_enter(struct throttle *, struct span address, struct throttle_guest *, struct throttle_excess *excess);
void throttle_leave(struct throttle *, const struct throttle_guest *);
/* One more of that, if there is room. What is no address is not counted. */
bool throttle_count(struct throttle *, struct span address, enum throttle_rate, uint64_t now, struct throttle_excess *);
/* Room for one, without counting it; `n` more, room or not. */
bool throttle_fits(const struct throttle *, struct span address, enum throttle_rate, uint64_t now, struct throttle_excess *);
void throttle_add(struct throttle *, struct span address, enum throttle_rate, uint64_t n, uint64_t now);

#endif
