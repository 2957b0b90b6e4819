/* spool_mend: makes a damaged spool good again, and destroys nothing: whatever is not to stay goes to bad/, under its name (with .1, .2... if
 * that is taken).
 *
 *   directories --> files: aside, cut --> the log: its mail to files of its own, flushed; then its segments to bad/, oldest first --> version
 *
 * Each step is durable before the next one takes away what it stands for, so a power cut at any point loses nothing: what was not done is
 * found again, and what was done twice (a message in the log, and in a file) counts once. The caller holds the spool's lock alone. */
#ifndef POSTINO_SPOOL_MEND_H
#define POSTINO_SPOOL_MEND_H

#include "admin/spool_survey.h"

struct mend_calls {
    void (*finding)(const struct finding *, void *arg);         /* what is wrong */
    void (*did)(const char *file, const char *what, void *arg); /* what was done about it, or would be; `file` is hostile */
    void (*progress)(const char *where, uint64_t messages, void *arg);
    void *arg;
    bool dry_run;
};

/* The number of things that were done; -1: it could not go on; what was done until then holds. */
long spool_mend(int directory, const struct mend_calls *, struct error *);

#endif
