/* door: what strangers may do before anything is known of them but their address: whether there is a session for them, whether they wait
 * for the greeting (resolver/passed.h), and the limits of client { } (resolver/throttle.h). One for all smtpd processes, as all of them
 * ask here.
 *
 * Each edge to an smtpd has a doorway: the sessions that came through it. When the edge ends they are gone; when this program is started
 * anew, smtpd tells which there are (GUEST), and the rates begin at nothing. What smtpd says is believed of its own sessions only, of
 * which there are limit { sessions } at most. */
#ifndef POSTINO_DOOR_H
#define POSTINO_DOOR_H

#include "common/messages.h"
#include "conf/settings.h"

struct door;
struct doorway;

struct door *door_new(const struct settings *); /* `settings` must live as long */
void door_free(struct door *);
struct doorway *doorway_new(struct door *);
void doorway_free(struct doorway *);

/* The answer to ADMIT or COUNT in `answer`, its texts in `text`. */
void doorway_admit(struct doorway *, const struct message *, struct message *answer, struct buf *text);
void doorway_count(struct doorway *, const struct message *, struct message *answer, struct buf *text);
void doorway_notice(struct doorway *, const struct message *); /* GUEST, PASSED, LEFT */
/* False: one recipient too many; the reply is in `answer`. */
bool doorway_rcpt(struct doorway *, const struct message *, struct message *answer, struct buf *text);

#endif
