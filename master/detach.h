/* detach: going into the background, with somebody staying in front who waits for how it ends.
 *
 *     front ---fork---> middle (setsid) ---fork---> the master
 *       | waits on a pipe                             | detach_ready(): all programs are ready       -> front exits 0
 *       | dies of nothing else                        | detach_failed(): message and status, or EOF -> front prints it, and exits so
 */
#ifndef POSTINO_DETACH_H
#define POSTINO_DETACH_H

#include "common/error.h"

/* Returns in the master only. -1: no process could be made. */
int detach(struct error *);

/* Without detach() before it, nothing happens (and the error was logged to a stderr that is seen). */
void detach_ready(void);
void detach_failed(int exit_status, const char *text);

#endif
