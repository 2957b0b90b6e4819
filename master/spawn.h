/* spawn: fork and exec of one program: descriptor 3 is its control channel, there are no others but 0 to 2, and the environment is clean.
 */
#ifndef POSTINO_SPAWN_H
#define POSTINO_SPAWN_H

#include "common/error.h"

#include <stdbool.h>
#include <sys/types.h>

/* `program` is "smtpd". Its stderr is ours in the foreground, else /dev/null. Takes `control` in either case. */
pid_t spawn(const char *directory, const char *program, int control, bool foreground, struct error *);

#endif
