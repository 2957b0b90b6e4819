/* hasher: threads that try passwords against hashes.
 *
 * A hash is made to be slow (100 ms and more), and auth answers all its questions in one thread, which must not wait for it: mail is held while
 * USAGE goes unanswered. So a password is tried here, and its verdict comes back through the event loop.
 *
 *   hasher_start --> waits, in order of arrival --a thread is free--> tried --event loop--> done() is called --> gone
 *        |                        |
 *        +--NULL: too many        +--hasher_abandon: done() is not called
 *
 * No more than HASHER_LINE are here, and HASHER_SHARE of one client, so that one who tries many leaves the others their turn. */
#ifndef POSTINO_AUTH_HASHER_H
#define POSTINO_AUTH_HASHER_H

#include "auth/passwd.h"

#define HASHER_LINE  256
#define HASHER_SHARE 16
#define HASHER_MOST  8 /* threads: one a core, two at the least */

struct event_base;
struct hasher_job;
typedef void hasher_done_fn(bool right, void *arg);

void hasher_open(struct event_base *);
/* Keeps copies of the work and of the password, and wipes them. `client`: any number that is the client's. NULL: too many are here. */
struct hasher_job *hasher_start(const struct passwd_work *, struct span password, uint64_t client, hasher_done_fn *done, void *arg);
void hasher_abandon(struct hasher_job *);

#endif
