/* alive: which processes of this program are there, so that nobody takes the counts of one that still counts. Each has one octet of ".tlsrpt.alive" locked, the
 * one that the microsecond of its start numbers, as long as it lives: the kernel gives it back, however the process ends. */
#ifndef POSTINO_STS_ALIVE_H
#define POSTINO_STS_ALIVE_H

#include <stdbool.h>
#include <stdint.h>

void alive_setup(int directory); /* open as long as the process lives */
int alive_tell(uint64_t start);  /* this process is there. -1: errno */
bool alive_is(uint64_t start);   /* another one is there, or that can't be known */

#endif
