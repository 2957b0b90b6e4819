/* why_door: what `postino why` says of the time before the first command: the greeting, and the limits of client { }, as they are
 * configured. What was counted so far only the running Postino knows. */
#ifndef POSTINO_WHY_DOOR_H
#define POSTINO_WHY_DOOR_H

#include "conf/settings.h"

/* What the listener says to such a client before a recipient is looked at; false: nothing, or there is no such listener. */
struct why_refusal {
    unsigned code;
    const char *status, *words, *by;
};
bool why_listener(const struct settings *, const char *client, const char *listener, const char *login, struct why_refusal *);

void why_door(const struct settings *, const char *client, const char *listener, bool trusted);

#endif
