/* postino spool repair: makes it good, says what it does, and looks again at the end. */
#include "admin/cmd_spool.h"
#include "admin/queue_print.h"
#include "admin/spool_mend.h"

static void print(const struct finding *f, void *arg)
{
    const struct spool_command *c = arg;
    spool_print_finding(stdout, f, c->json);
}

static void did(const char *file, const char *what, void *arg)
{
    const struct spool_command *c = arg;
    spool_progress_wipe();
    if (c->json) {
        (void)fputs("{\"repaired\": ", stdout);
        queue_print_json(stdout, span_of(file));
        (void)fputs(", \"what\": ", stdout);
        queue_print_json(stdout, span_of(what));
        (void)fputs("}\n", stdout);
        return;
    }
    (void)fputs(c->dry_run ? "to do: " : "done: ", stdout);
    queue_print_text(stdout, span_of(file));
    (void)fputs(": ", stdout);
    queue_print_text(stdout, span_of(what));
    (void)fputc('\n', stdout);
}

static void nothing(const struct finding *f, void *arg)
{
    (void)f, (void)arg;
}

int spool_repair(const struct spool_command *c)
{
    struct survey_sums sums;
    struct error error;
    void *arg = (void *)(uintptr_t)c;
    struct mend_calls calls = {.finding = print, .did = did, .progress = spool_progress, .arg = arg, .dry_run = c->dry_run};
    struct survey_calls again = {.finding = c->dry_run ? nothing : print, .progress = spool_progress, .arg = arg};
    long n = spool_mend(c->directory, &calls, &error);
    spool_progress_wipe();
    if (n >= 0 && !c->json && (n == 0 || !c->dry_run))
        (void)printf(n == 0 ? "there is nothing to do\n" : "the spool is now:\n");
    if (n < 0 || spool_survey(c->directory, &again, &sums, &error) != 0)
        return admin_fail(SPOOL_NOT_LOOKED_AT, c->name, "%s: %s", c->path, error.text);
    spool_print_sums(&sums, c->json);
    return sums.findings[FINDING_DAMAGED] > 0 ? SPOOL_DAMAGED : SPOOL_GOOD;
}
