/* why_door: what `postino why` says of the time before the first command: the greeting, and the limits of client { }, as they are
 * configured. What was counted so far only the running Postino knows. */
#ifndef POSTINO_WHY_DOOR_H
#define POSTINO_WHY_DOOR_H

#include "conf/settings.h"

void why_door(const struct settings *, const char *client, const char *listener, bool trusted);

#endif
