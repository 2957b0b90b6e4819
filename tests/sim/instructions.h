/* instructions: how many instructions of the processor a function takes. By a hardware counter where there is one (perf_event_open); else
 * by stepping through it in a child (ptrace). -1: neither is allowed here. */
#ifndef POSTINO_INSTRUCTIONS_H
#define POSTINO_INSTRUCTIONS_H

long instructions_of(void (*run)(void *), void *arg); /* what it changes in memory may or may not stay */
const char *instructions_how(void);

#endif
