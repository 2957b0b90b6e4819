/* spool_ahead: reads messages' files before recovery comes to them, so that a disk that has to look for each is asked for many at a time. What is read is
 * thrown away: the kernel keeps it. Nothing depends on it. */
#ifndef POSTINO_SPOOL_AHEAD_H
#define POSTINO_SPOOL_AHEAD_H

struct spool_ahead;

struct spool_ahead *spool_ahead_start(int directory, unsigned first /* shelf */); /* NULL: no threads; then without */
void spool_ahead_stop(struct spool_ahead *);                                      /* and frees it; NULL is ignored */

#endif
