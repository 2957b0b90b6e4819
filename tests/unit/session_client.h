/* session_client: a client of a session in session_world, and the setup and teardown of a test that has one. Scripts for it are in session_script, words that
 * are waited for in session_hear. */
#ifndef POSTINO_TEST_SESSION_CLIENT_H
#define POSTINO_TEST_SESSION_CLIENT_H

#include "tests/unit/session_world.h"

extern struct world w;
extern struct stream *client; /* NULL: there is none */
extern struct buf heard;      /* what has come and was not looked at */
extern bool ended, secured;   /* the connection is; TLS is there */

int open_world(void **state);
int close_world(void **state); /* hangs up */

void connect_from(const char *address);
void connect_client(void); /* from 192.0.2.7 */
int connect_pair(void);    /* the other end, which is no session yet */
void hang_up(void);
void turns(int n);

#endif
