/* postino sites: the receivers as the scheduler knows them. */
#include "admin/admin.h"
#include "admin/place.h"
#include "admin/queue_print.h"

#include <getopt.h>
#include <inttypes.h>
#include <sysexits.h>
#include <time.h>

enum { STATE_TEXT = 40, CLOCK_TEXT = 20 };

static void clock_of(uint64_t time_of_it, bool is_far /* more than a day away */, char to[CLOCK_TEXT])
{
    time_t when = (time_t)time_of_it;
    struct tm tm;
    (void)snprintf(to, CLOCK_TEXT, "?");
    if (localtime_r(&when, &tm))
        (void)strftime(to, CLOCK_TEXT, is_far ? "%b %e %H:%M" : "%H:%M:%S", &tm);
}

static uint64_t now(void)
{
    return (uint64_t)time(NULL);
}

static void until(uint64_t time_of_it, const char *words, char to[STATE_TEXT])
{
    char clock[CLOCK_TEXT];
    clock_of(time_of_it, time_of_it > now() + 86400, clock);
    (void)snprintf(to, STATE_TEXT, "%s until %s", words, clock);
}

/* "dead until 15:04:05", "paused until 15:04:05", "slowed until 15:04:05" */
static void state_of(const struct record_site *s, char to[STATE_TEXT])
{
    if (s->dead && s->probe)
        until(s->probe, "dead", to);
    else if (s->paused)
        until(s->until, "paused", to);
    else if (s->dead)
        (void)snprintf(to, STATE_TEXT, "probing");
    else if (s->slowed)
        until(s->until, "slowed", to);
    else
        (void)snprintf(to, STATE_TEXT, s->trouble.n > 0 ? "failing" : s->a_day > 0 ? "warm-up" : "ok");
}

/* A line below that of the site: since when, and why. */
static void print_trouble(const struct record_site *s)
{
    char since[CLOCK_TEXT], last[CLOCK_TEXT];
    if (s->trouble.n == 0)
        return;
    clock_of(s->trouble_since, s->trouble_since + 86400 < now(), since);
    clock_of(s->trouble_at, s->trouble_at + 86400 < now(), last);
    (void)printf("        since %s, last %s: ", since, last);
    queue_print_text(stdout, s->trouble);
    (void)putchar('\n');
}

/* " (all of outlook.com; rule busy)" */
static void print_notes(const struct record_site *s)
{
    if (s->a_day > 0)
        (void)printf("  (warm-up: %" PRIu32 " message%s a day)", s->a_day, s->a_day > 1 ? "s" : "");
    if (s->share.n == 0 && s->rule.n == 0)
        return;
    (void)fputs("  (", stdout);
    if (s->share.n > 0)
        (void)fputs("shares with ", stdout);
    queue_print_text(stdout, s->share);
    (void)fputs(s->share.n > 0 && s->rule.n > 0 ? "; " : "", stdout);
    (void)fputs(s->rule.n > 0 ? "rule " : "", stdout);
    queue_print_text(stdout, s->rule);
    (void)putchar(')');
}

static void rate_of(const struct record_site *s, char to[16])
{
    (void)snprintf(to, 16, "-");
    if (s->rate)
        (void)snprintf(to, 16, "%" PRIu32, s->rate);
}

static bool table(const struct record_site *s, void *arg)
{
    size_t *count = arg;
    char state[STATE_TEXT], rate[16];
    state_of(s, state);
    rate_of(s, rate);
    if ((*count)++ == 0)
        (void)printf("%7s %7s %7s %6s %6s  %-9s %7s %7s  %-20s %s\n", "jobs", "ready", "waiting", "held", "active", "window", "rate/m",
                     "session", "state", "site");
    (void)printf("%7" PRIu32 " %7" PRIu32 " %7" PRIu32 " %6" PRIu32 " %6" PRIu32 "  %3" PRIu32 " of %-3" PRIu32 " %6s %7" PRIu32 "  %-20s ",
                 s->jobs, s->ready, s->waiting, s->held, s->active, s->window, s->most, rate, s->session_messages, state);
    queue_print_text(stdout, s->name);
    print_notes(s);
    (void)putchar('\n');
    print_trouble(s);
    return !ferror(stdout);
}

static bool json(const struct record_site *s, void *arg)
{
    (void)arg;
    (void)printf("{\"site\": ");
    queue_print_json(stdout, s->name);
    (void)printf(", \"jobs\": %" PRIu32 ", \"ready\": %" PRIu32 ", \"waiting\": %" PRIu32 ", \"held\": %" PRIu32 ", \"active\": %" PRIu32
                 ", \"in_doubt\": %" PRIu32 ", \"window\": %" PRIu32 ", \"most\": %" PRIu32 ", \"rate\": %" PRIu32
                 ", \"session_messages\": %" PRIu32 ", \"dead\": %s, \"probe\": %" PRIu64
                 ", \"slowed\": %s, \"paused\": %s, \"until\": %" PRIu64 ", \"rule\": ",
                 s->jobs, s->ready, s->waiting, s->held, s->active, s->in_doubt, s->window, s->most, s->rate, s->session_messages,
                 s->dead ? "true" : "false", s->probe, s->slowed ? "true" : "false", s->paused ? "true" : "false", s->until);
    queue_print_json(stdout, s->rule);
    (void)fputs(", \"share\": ", stdout);
    queue_print_json(stdout, s->share);
    (void)printf(", \"a_day\": %" PRIu32 ", \"trouble\": ", s->a_day);
    queue_print_json(stdout, s->trouble);
    (void)printf(", \"trouble_since\": %" PRIu64 ", \"trouble_at\": %" PRIu64 "}\n", s->trouble_since, s->trouble_at);
    return !ferror(stdout);
}

static int print_sites(const char *run, queue_site_fn *each)
{
    struct queue_client q;
    struct error error;
    size_t count = 0;
    int status = queue_open(&q, run, &error);
    if (status == EX_OK)
        status = queue_sites(&q, each, &count, &error);
    queue_close(&q);
    if (status != EX_OK)
        return admin_fail(status, "sites", "%s", error.text);
    if (count == 0 && each == table)
        (void)puts("No site has or had mail lately");
    return EX_OK;
}

int cmd_sites(struct admin *a, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    static const char usual[] = SYSCONFDIR "/postino/postino.conf";
    queue_site_fn *each = table;
    struct error error;
    char run[512];
    int option;
    while ((option = getopt_long(argc, argv, "j", options, NULL)) != -1) {
        if (option != 'j')
            return admin_fail(EX_USAGE, "sites", "usage: postino sites [--json]");
        each = json;
    }
    if (optind < argc)
        return admin_fail(EX_USAGE, "sites", "usage: postino sites [--json]");
    int status = place_run("postino sites", strcmp(a->path, usual) == 0 ? NULL : a->path, run, sizeof run, &error);
    return status == EX_OK ? print_sites(run, each) : admin_fail(status, "sites", "%s", error.text);
}
