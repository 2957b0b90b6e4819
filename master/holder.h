/* holder: who listens on a port already, for an error that an administrator can act on. */
#ifndef POSTINO_HOLDER_H
#define POSTINO_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The process that listens on TCP `port` (any address), and its name. False: none found (not root, or it is gone). */
bool port_holder(unsigned port, pid_t *pid, char *name, size_t name_size);

#endif
