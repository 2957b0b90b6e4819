/* days: the tally of today, kept on disk, and those of days that are over, for the reports.
 *
 * Each process counts for itself, from nothing, and keeps its counts of a day in a file of its own, ".tlsrpt.DAY.START", replaced as a whole: so two that
 * are there at a time (a reload) don't disturb each other, and one that is killed loses what it has not written. All files of a day that is over
 * are added up. ".tlsrpt.DAY.told" says who has got a report of it already: a line "domain", or "domain place" while others of its places are open.
 * What is in these files is looked at as at a stranger's. */
#ifndef POSTINO_STS_DAYS_H
#define POSTINO_STS_DAYS_H

#include "sts/tally.h"

#define DAYS_SECONDS UINT64_C(86400)

void days_setup(int directory); /* open as long as the process lives */
void days_start(void);          /* removes what is of no use any more */
void days_add(const struct tally_sessions *);
void days_save(void); /* what is not on disk yet; and a day that is over is put down */

bool days_oldest(uint64_t *day);       /* of those that are over; false: there is none */
struct tally *days_read(uint64_t day); /* with all of its files; the caller frees it */
void days_forget(uint64_t day);        /* its files */

/* One process sends; -1: another one does. The lock ends with the process, or by days_unlock(). */
int days_lock(void);
void days_unlock(void);

/* Marks in the tally who has been told: ->told, ->over. */
void days_recall(struct tally *);
void days_told(uint64_t day, struct tally_domain *, const char *place); /* NULL: all of its places */
bool days_was_told(const struct tally_domain *, const char *place);

#endif
