/* fairtable: a table of fixed size of things that are known of addresses of strangers, who may fill it if they can, and must not push
 * out what is known of others.
 *
 * Who owns much room in the Internet can come from as many addresses as he likes, but all of them are in few regions (an IPv4 /16, an
 * IPv6 /32). The region chooses the bucket; in a bucket one region has half of the places at most, and takes more from itself. What goes
 * first is what would be forgotten first (`until`): for a count that leaks, the one that is nearest to empty. Hashes are keyed with a
 * number of this table. */
#ifndef POSTINO_FAIRTABLE_H
#define POSTINO_FAIRTABLE_H

#include "common/siphash.h"

#include <stdbool.h>

#define FAIRTABLE_WAYS 64 /* places of a bucket */

/* What each entry begins with. */
struct fair_entry {
    uint64_t key; /* 0: free */
    uint64_t region;
    uint64_t until; /* the owner's: in any unit, the least goes first */
};

struct fairtable;

struct fairtable *fairtable_new(size_t buckets, size_t entry_size); /* the process ends without memory */
void fairtable_free(struct fairtable *);
void *fairtable_find(const struct fairtable *, uint64_t key, uint64_t region); /* NULL: not there */
void *fairtable_take(struct fairtable *, uint64_t key,
                     uint64_t region); /* makes it, all 0 behind its key and region, where it is not there */

/* An address as it is counted: by itself (of IPv6 the /64, which is what one customer has), by its network (/24, /48), by its region
 * (/16, /32). */
struct prefix {
    uint64_t address, network, region; /* hashes, never 0 */
};
/* False: no address. An IPv4-mapped one is the IPv4 address that it is. `text` may be without its end. */
bool prefix_of(const struct siphash_key *, const char *text, size_t n, struct prefix *);
/* "192.0.2.1", or with `network` "192.0.2.0/24"; "2001:db8::/64", "2001:db8::/48". */
void prefix_name(const char *text, size_t n, bool network, char *out, size_t size);

#endif
