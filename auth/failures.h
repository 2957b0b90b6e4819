/* failures: who has failed to log in how often, so that guessing takes years, and does not lock the owner out.
 *
 * Four tables of fixed size, each a count that leaks at `limit` an hour (kept as the time when it will be empty):
 *     address   an IPv4 address or an IPv6 /64     too many: refused
 *     network   an IPv4 /24 or an IPv6 /48         too many: refused
 *     account   a name, there or not               too many: served one after the other, FAILURES_PACE apart, with a delay; the line is short
 *     known     an account and an address that the right password came from lately: asked before the three others. Its own count alone
 *               decides, and its failures count nowhere else: neighbours and botnets don't lock the owner out, and the owner's old device
 *               locks out nobody.
 * A full bucket of a table gives up the count that is nearest to empty. Hashes are keyed with a number of this process. Memory is what
 * failures_open() takes, whatever strangers do. All is forgotten when the process ends. Time is an argument: seconds that only go forward. */
#ifndef POSTINO_AUTH_FAILURES_H
#define POSTINO_AUTH_FAILURES_H

#include "common/span.h"

#include <stdint.h>

#define FAILURES_PACE 5 /* seconds between two guesses at an account under attack */
#define FAILURES_LINE 6 /* guesses that may wait at a time */

struct failures_limits {
    uint64_t address, network, account; /* an hour; 0: none */
    uint64_t known_time;                /* seconds */
};

enum failures_answer {
    FAILURES_GO,     /* look at the password; tell the verdict after `delay` seconds */
    FAILURES_REFUSE, /* too many from there */
    FAILURES_BUSY,   /* too many to that account */
};

void failures_open(const struct failures_limits *);
/* The same number for all clients of one IPv4 address or IPv6 /64, and another one for the others. */
uint64_t failures_address(struct span client);
/* Before there is a password: whether one would be looked at. Takes no place in the account's line. */
enum failures_answer failures_may_try(struct span client, struct span account, uint64_t now);
/* With the password: takes a place in the account's line, if it has one. */
enum failures_answer failures_take_turn(struct span client, struct span account, uint64_t now, uint32_t *delay);
void failures_wrong(struct span client, struct span account, uint64_t now);
void failures_right(struct span client, struct span account, uint64_t now);

#endif
