/* backend_file: the password file as a back end (auth/conversation.h): PLAIN and LOGIN, and SCRAM where every login has a secret for it. */
#ifndef POSTINO_AUTH_BACKEND_FILE_H
#define POSTINO_AUTH_BACKEND_FILE_H

#include "auth/conversation.h"

const struct backend *backend_file(struct event_base *, const struct settings *);

#endif
