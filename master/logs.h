/* logs: where lines go (log.to), for the master and, by a copy of its descriptor, for every program. */
#ifndef POSTINO_LOGS_H
#define POSTINO_LOGS_H

#include "common/error.h"
#include "common/messages.h"
#include "conf/settings.h"

/* Opens what log.to names, and from then on the master's own lines go there. -1: all is as it was. Again at any time (rotation, reload).
 * `foreground`: stderr may be used, and takes the place of a syslog that is not there. */
int logs_open(const struct settings *, bool foreground, struct error *);

/* The message that hands a program its copy; fd is -1 when there is none to give. */
struct message logs_message(void);

/* True when syslog has been started anew (or at last) since the log was opened, and it should be opened again. */
bool logs_stale(const struct settings *);

bool logs_on_stderr(void);

#endif
