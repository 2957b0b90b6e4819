/* cmd_spool: what `postino spool check`, `repair` and `dump` share. Each is one function in its own file. The spool is open and locked, and the
 * program is the user to whom it belongs, when they are called; they return the exit status. */
#ifndef POSTINO_CMD_SPOOL_H
#define POSTINO_CMD_SPOOL_H

#include "admin/admin.h"
#include "admin/spool_survey.h"

#include <stdio.h>

/* As fsck and grep have them: what a script asks is whether it is good. */
enum { SPOOL_GOOD = 0, SPOOL_DAMAGED = 1, SPOOL_NOT_LOOKED_AT = 2 };

struct spool_command {
    const char *name; /* "spool check" */
    const char *path; /* the directory, as the caller named it */
    int directory;
    bool json, live, dry_run;
    const char *to; /* dump --to; NULL: stdout */
    int to_directory;
    char **ids; /* dump; NULL-terminated */
};

int spool_check(const struct spool_command *);
int spool_repair(const struct spool_command *);
int spool_dump(const struct spool_command *);

void spool_print_finding(FILE *, const struct finding *, bool json);
void spool_print_sums(const struct survey_sums *, bool json);
/* On a terminal: where the survey is. The line is wiped before anything else is printed. */
void spool_progress(const char *where, uint64_t messages, void *);
void spool_progress_wipe(void);

#endif
