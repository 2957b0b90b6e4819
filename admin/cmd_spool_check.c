/* postino spool check: what is in the spool, and what is wrong with it. */
#include "admin/cmd_spool.h"

static void print(const struct finding *f, void *arg)
{
    const struct spool_command *c = arg;
    spool_print_finding(stdout, f, c->json);
}

int spool_check(const struct spool_command *c)
{
    struct survey_sums sums;
    struct error error;
    struct survey_calls calls = {.finding = print, .progress = spool_progress, .arg = (void *)(uintptr_t)c, .live = c->live};
    if (spool_survey(c->directory, &calls, &sums, &error) != 0) {
        spool_progress_wipe();
        return admin_fail(SPOOL_NOT_LOOKED_AT, c->name, "%s: %s", c->path, error.text);
    }
    spool_print_sums(&sums, c->json);
    return sums.findings[FINDING_DAMAGED] > 0 ? SPOOL_DAMAGED : SPOOL_GOOD;
}
