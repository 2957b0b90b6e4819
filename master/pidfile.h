/* pidfile: RUN/master.pid, "PID\n", locked for as long as this master lives, so that there is never a second one on the same directories.
 */
#ifndef POSTINO_PIDFILE_H
#define POSTINO_PIDFILE_H

#include "common/error.h"

/* -1: another master has it (the error tells its pid), or it can't be made. The lock stays with the process through fork, and is not passed
 * to programs. */
int pidfile_take(int run_directory, const char *run, struct error *);
int pidfile_write(const char *run, struct error *); /* our pid; after the last fork */
void pidfile_remove(int run_directory);

#endif
