/* session_script: scripts of what a client does in session_world, with a clock that goes as it is told:
 *
 *     "> EHLO x"      says the line             "< 250 "     hears a reply with this in it, and nothing behind that
 *     ">> a piece"    says this without an end  "= "         hears nothing
 *     "+ 299"         lets seconds pass         "."          the connection has ended, and the session with it */
#ifndef POSTINO_TEST_SESSION_SCRIPT_H
#define POSTINO_TEST_SESSION_SCRIPT_H

#include "tests/unit/session_client.h"

#define TURNS 300
#define QUIET 25

void say(const char *text, const char *end);
const char *heard_so_far(void);
void forget_heard(void);
void play_steps(const char *const *lines);
#define PLAY(...) play_steps((const char *const[]){__VA_ARGS__, NULL})
void begin(void); /* connects, and says EHLO */

#endif
