/* replace: a process that has served long enough (REPLACE) gets a successor, so that a foothold in one does not last. It is a reload of one
 * process: a second one of the same place and generation beside it, with the same listeners and edges of its own.
 *
 *   worn --(RUNNING, fewer than REPLACED_MOST of its place still finish)--> successor launched
 *        --successor READY--> DRAIN: the worn one closes its listeners, and ends with its last session
 *        --session_time and a little later--> killed: nothing that an honest one does takes so long
 *
 * Both accept until the worn one has been told, so no client meets a closed door. Whatever happens meanwhile: the successor dies: it is
 * started anew, and the worn one serves; the worn one dies: the successor is there instead; a reload's commit or a stop ends both as they
 * end all others. No new replacement begins while another generation comes up. */
#ifndef POSTINO_REPLACE_H
#define POSTINO_REPLACE_H

#include "master/process.h"

#define REPLACED_MOST 4 /* of one place that finish at a time: so memory has a bound. More are replaced when one has ended */

void replace_continue(void);                                   /* begins what may begin */
void replace_ready(struct process *);                          /* it is READY: whom it replaces may finish */
struct process *replace_successor(const struct process *worn); /* NULL: none yet */

#endif
