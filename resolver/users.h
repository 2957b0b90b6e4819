/* users: the host's user database, as routing.h wants to ask it. */
#ifndef POSTINO_USERS_H
#define POSTINO_USERS_H

#include "resolver/routing.h"

struct sandbox;

/* Before the sandbox: loads what the C library loads at a first look. */
void users_warm_up(void);
/* The files and sockets that it needs later. */
void users_sandbox(struct sandbox *);
enum user_result users_find(const char *name, char canonical[USER_NAME]);

#endif
