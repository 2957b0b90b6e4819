/* deaths: how a process ended, in words, and how long to wait before the next one is started. Pure. */
#ifndef POSTINO_DEATHS_H
#define POSTINO_DEATHS_H

#include "common/buf.h"

#include <stdint.h>

/* `status` is waitpid's. "killed by SIGSYS (system call not allowed by its sandbox)" */
void death_words(int status, struct buf *out);

/* The status for the master's own exit when a program could not even start: its own if it is one of sysexits.h, else EX_SOFTWARE. */
int death_exit_status(int status);

#define DEATH_QUICK_MS 10000 /* a life shorter than this is a quick death */

/* How many quick deaths in a row there are after a life of `lived` milliseconds, and how many milliseconds that costs: the first two
 * nothing, then a second, doubled each time, 30 seconds at most. */
unsigned death_count(unsigned quick, uint64_t lived);
unsigned death_delay(unsigned quick);

#endif
