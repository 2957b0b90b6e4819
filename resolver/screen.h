/* screen: one RCPT on its way through the rules of `access` (resolver/access.h): asks dns and policy services for them, and logs what they
 * want logged. Only what routing took comes here: who may not relay, or writes to nobody, costs no question. */
#ifndef POSTINO_SCREEN_H
#define POSTINO_SCREEN_H

#include "common/peer.h"
#include "resolver/access.h"

struct screens;
struct screen;

/* The rules of all listeners. NULL: one of them is wrong. `settings` must live as long. */
struct screens *screens_new(struct event_base *, const struct settings *, struct peer *dns, struct error *);
void screens_free(struct screens *);
bool screens_rules_for(const struct screens *, struct span listener); /* false: there is nothing to ask */

/* Called once, never before screen_start() returns NULL or the screen, unless screen_cancel() comes first; the decision is valid during the
 * call. */
typedef void screen_fn(const struct access *, void *arg);
/* NULL: `done` was called already. */
struct screen *screen_start(struct screens *, const struct message_rcpt *, bool trusted, bool certificate_listed, screen_fn *done,
                            void *arg);
void screen_cancel(struct screen *);

#endif
