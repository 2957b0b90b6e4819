/* strays: after a reload, how much mail waits for hosts that no route names any more. */
#ifndef POSTINO_STRAYS_H
#define POSTINO_STRAYS_H

#include "conf/settings.h"

/* Prints a line, if there is any; nothing where postino-qmgr can't be asked, as its log has the same. */
void strays_tell(const struct settings *);

#endif
