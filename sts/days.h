/* days: the tally of today, kept on disk, and those of days that are over, for the reports.
 *
 * Each process counts for itself, from nothing, and keeps its counts of a day in a file of its own, ".tlsrpt.DAY.START", replaced as a whole: so two that
 * are there at a time (a reload) don't disturb each other, and one that is killed loses what it has not written. All files of a day that is over
 * are added up. A day that can't be written at its end stays in memory, goes into its reports from there, and is tried again each minute.
 * What is in these files is looked at as at a stranger's. */
#ifndef POSTINO_STS_DAYS_H
#define POSTINO_STS_DAYS_H

#include "sts/tally.h"

#define DAYS_SECONDS UINT64_C(86400)

void days_setup(int directory); /* open as long as the process lives */
void days_start(void); /* removes what is of no use any more, and joins the files of processes that are gone, if they are too many */
void days_add(const struct tally_sessions *);
void days_save(void); /* what is not on disk yet; and a day that is over is put down */

bool days_oldest(uint64_t *day);       /* of those that are over; false: there is none */
struct tally *days_read(uint64_t day); /* with all of its files, and what could not be written; the caller frees it */
void days_forget(uint64_t day);        /* these */

/* One process sends; -1: another one does. The lock ends with the process, or by days_unlock(). */
int days_lock(void);
void days_unlock(void);

#endif
