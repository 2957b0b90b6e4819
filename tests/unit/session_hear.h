/* session_hear: what the client of session_client says, and waits for. */
#ifndef POSTINO_TEST_SESSION_HEAR_H
#define POSTINO_TEST_SESSION_HEAR_H

#include "tests/unit/session_client.h"

void client_say(const char *text);
void client_say_span(struct span);
/* Waits until exactly this is heard, as replies' first words: "250 2.0.0 ", "503 " for two of them. A line that goes on ("250-") is skipped.
 * Fails the test if something else comes. */
void client_hear(const char *const *replies);
#define HEAR(...) client_hear((const char *const[]){__VA_ARGS__, NULL})
void client_hear_end(void); /* the connection ends, and the session with it */

#endif
