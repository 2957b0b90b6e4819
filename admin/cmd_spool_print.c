/* What `postino spool` prints: a line a finding, and the sums. */
#include "admin/cmd_spool.h"
#include "admin/queue_print.h"
#include "common/queueid.h"

#include <inttypes.h>
#include <time.h>
#include <unistd.h>

/* ---- progress ---------------------------------------------------------------------------------------------------- */

#define PROGRESS_EVERY 200 /* milliseconds */

static bool progress_shown;

static uint64_t milliseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void spool_progress(const char *where, uint64_t messages, void *arg)
{
    static uint64_t last, calls;
    (void)arg;
    if (calls++ % 64 != 0 || !isatty(STDERR_FILENO) || milliseconds() - last < PROGRESS_EVERY)
        return;
    last = milliseconds();
    progress_shown = true;
    (void)fprintf(stderr, "\r%-10s %" PRIu64 " messages", where, messages);
}

void spool_progress_wipe(void)
{
    if (progress_shown)
        (void)fprintf(stderr, "\r%40s\r", "");
    progress_shown = false;
}

/* ---- findings ---------------------------------------------------------------------------------------------------- */

static const char *const kinds[FINDING_KINDS] = {
    [FINDING_DAMAGED] = "damaged", [FINDING_INCOMPLETE] = "incomplete", [FINDING_FOREIGN] = "foreign"};

static void as_json(FILE *out, const struct finding *f)
{
    const char *const names[] = {"what", "meaning", "next"}, *const values[] = {f->what, f->meaning, f->next};
    (void)fprintf(out, "{\"finding\": \"%s\", \"file\": ", kinds[f->kind]);
    queue_print_json(out, span_of(f->file));
    if (f->at)
        (void)fprintf(out, ", \"offset\": %" PRIu64, f->offset);
    if (f->id)
        (void)fprintf(out, ", \"queue_id\": \"%s\"", queueid_format(f->id).text);
    for (size_t i = 0; i < 3; i++) {
        (void)fprintf(out, ", \"%s\": ", names[i]);
        queue_print_json(out, span_of(values[i]));
    }
    (void)fputs("}\n", out);
}

void spool_print_finding(FILE *out, const struct finding *f, bool json)
{
    spool_progress_wipe();
    if (json) {
        as_json(out, f);
        return;
    }
    (void)fprintf(out, "%s: ", kinds[f->kind]);
    queue_print_text(out, span_of(f->file));
    if (f->at)
        (void)fprintf(out, " at %" PRIu64, f->offset);
    if (f->id)
        (void)fprintf(out, ", message %s", queueid_format(f->id).text);
    (void)fprintf(out, ": %s; for the mail: ", f->what);
    queue_print_text(out, span_of(f->meaning));
    (void)fprintf(out, "; next: %s\n", f->next);
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

void spool_print_sums(const struct survey_sums *s, bool json)
{
    const uint64_t values[] = {s->messages[SURVEY_LOG],
                               s->messages[SURVEY_FILE],
                               s->messages[SURVEY_ASIDE],
                               s->finished,
                               s->waiting,
                               s->done,
                               s->octets,
                               s->findings[FINDING_DAMAGED],
                               s->findings[FINDING_INCOMPLETE],
                               s->findings[FINDING_FOREIGN]};
    static const char *const names[] = {"in_log",          "in_files", "set_aside", "finished",   "recipients_waiting",
                                        "recipients_done", "octets",   "damaged",   "incomplete", "foreign"};
    spool_progress_wipe();
    if (!json) {
        (void)printf("messages: %" PRIu64 " in the log, %" PRIu64 " in files; %" PRIu64 " of them are finished; %" PRIu64
                     " are set aside in bad/\n"
                     "recipients: %" PRIu64 " waiting, %" PRIu64 " done; octets: %" PRIu64 "\n"
                     "found: %" PRIu64 " damaged, %" PRIu64 " incomplete, %" PRIu64 " foreign\n",
                     values[0], values[1], values[3], values[2], values[4], values[5], values[6], values[7], values[8], values[9]);
        return;
    }
    (void)printf("{\"summary\": {");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        (void)printf("%s\"%s\": %" PRIu64, i ? ", " : "", names[i], values[i]);
    (void)puts("}}");
}
