/* status: what the master is at, for people and for `postino reload`, which waits for what came of it.
 *
 * It goes to the service manager (notify.h), and into RUN/master.status: "RELOADS TEXT\n", where RELOADS counts the reloads that were
 * begun and TEXT is what the service manager is told: "running", "reloading", "running; reloaded", "running; reload refused: why",
 * "running; reload failed: why", "stopping". The file is replaced whole, so that nobody reads half of it. */
#ifndef POSTINO_STATUS_H
#define POSTINO_STATUS_H

#include "master/notify.h"

void status_tell(enum notify_event, const char *text);

/* Takes the file away: the end. */
void status_remove(void);

#endif
