/* postino queue: look at the queue, and change it. */
#include "admin/admin.h"
#include "admin/place.h"
#include "admin/queue_print.h"
#include "common/queueid.h"

#include <getopt.h>
#include <inttypes.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

static int usage(void)
{
    (void)fprintf(stderr, "usage: postino queue [list [--json] [ID]]\n"
                          "       postino queue show ID\n"
                          "       postino queue retry ID|all\n"
                          "       postino queue delete ID...\n");
    return EX_USAGE;
}

static int fail(int status, const struct error *error)
{
    return admin_fail(status, "queue", "%s", error->text);
}

static bool parse_id(const char *text, uint64_t *id)
{
    return queueid_parse(span_of(text), id) && *id != 0;
}

static int no_id(const char *text)
{
    return admin_fail(EX_DATAERR, "queue", "%s: no queue id; mailq shows them", text);
}

/* ---- list ------------------------------------------------------------------------------------------------------------------------ */

static int list(const char *run, enum queue_form form, const char *only)
{
    struct error error;
    uint64_t id = 0;
    if (only && !parse_id(only, &id))
        return no_id(only);
    int status = queue_print_all(run, id, form, stdout, &error);
    return status == EX_OK ? status : fail(status, &error);
}

/* ---- show ------------------------------------------------------------------------------------------------------------------------ */

static void print_time(const char *name, uint64_t seconds)
{
    char text[64];
    time_t t = (time_t)seconds;
    struct tm tm;
    if (!localtime_r(&t, &tm) || strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
        (void)snprintf(text, sizeof text, "%" PRIu64, seconds);
    (void)printf("%s: %s\n", name, text);
}

static void print_line(const char *name, struct span value)
{
    (void)printf("%s: ", name);
    queue_print_text(stdout, value);
    (void)fputc('\n', stdout);
}

static bool print_envelope(const struct record_entry *e, void *arg)
{
    static const char *const states[] = {"", "waiting", "being delivered", "done"};
    size_t *count = arg;
    if (++*count == 1) {
        (void)printf("queue-id: %s\n", queueid_format(e->id).text);
        print_time("arrived", e->arrived);
        (void)printf("size: %" PRIu64 "\n", e->size);
        print_line("sender", e->sender);
    }
    print_line("recipient", e->recipient);
    (void)printf("  state: %s\n  attempts: %" PRIu32 "\n", e->state < 4 ? states[e->state] : "?", e->attempts);
    if (e->state == RECIPIENT_WAITING)
        print_time("  next-attempt", e->due);
    if (e->reason.n)
        print_line("  reason", e->reason);
    return true;
}

/* Lines end in LF here; and a terminal is not sent what a stranger would have it do. */
static bool print_piece(struct span piece, void *arg, struct error *error)
{
    bool *cr = arg, terminal = isatty(STDOUT_FILENO);
    for (size_t i = 0; i < piece.n; i++) {
        unsigned char c = (unsigned char)piece.p[i];
        if (*cr && c != '\n')
            (void)fputc(terminal ? '?' : '\r', stdout);
        *cr = c == '\r';
        if (terminal && ((c < 32 && c != '\n' && c != '\t' && c != '\r') || c == 127))
            c = '?';
        if (!*cr)
            (void)fputc(c, stdout);
    }
    if (!ferror(stdout))
        return true;
    (void)error_set(error, "the output can't be written; look at where it goes");
    return false;
}

static int show(struct queue_client *q, uint64_t id, struct error *error)
{
    size_t count = 0;
    bool cr = false;
    int status = queue_list(q, id, print_envelope, &count, error);
    if (status != EX_OK)
        return status;
    if (count == 0) {
        (void)error_set(error, "%s: there is no such message in the queue", queueid_format(id).text);
        return EX_NOINPUT;
    }
    (void)fputc('\n', stdout);
    return queue_text(q, id, print_piece, &cr, error);
}

/* ---- orders ---------------------------------------------------------------------------------------------------------------------- */

static int order(struct queue_client *q, bool retry, uint64_t id, struct error *error)
{
    uint32_t count = 0;
    int status = retry ? queue_retry(q, id, &count, error) : queue_delete(q, id, &count, error);
    if (status == EX_OK)
        (void)printf("%s: %s (%" PRIu32 ")\n", id ? queueid_format(id).text : "all", retry ? "will be tried now" : "deleted", count);
    return status;
}

static int each_id(const char *run, char **ids, int (*what)(struct queue_client *, const char *id, struct error *))
{
    struct queue_client q;
    struct error error;
    int worst = EX_OK, status = queue_open(&q, run, &error);
    if (status != EX_OK)
        worst = fail(status, &error);
    for (; status == EX_OK && *ids; ids++) {
        int one = what(&q, *ids, &error);
        if (one != EX_OK && one != EX_DATAERR)
            (void)fail(one, &error);
        worst = worst == EX_OK ? one : worst;
        if (one == EX_TEMPFAIL || one == EX_PROTOCOL)
            break; /* nothing more will come over this socket */
    }
    queue_close(&q);
    return worst;
}

static int show_one(struct queue_client *q, const char *text, struct error *error)
{
    uint64_t id;
    return parse_id(text, &id) ? show(q, id, error) : no_id(text);
}

static int retry_one(struct queue_client *q, const char *text, struct error *error)
{
    uint64_t id = 0;
    return strcmp(text, "all") == 0 || parse_id(text, &id) ? order(q, true, id, error) : no_id(text);
}

static int delete_one(struct queue_client *q, const char *text, struct error *error)
{
    uint64_t id;
    return parse_id(text, &id) ? order(q, false, id, error) : no_id(text);
}

/* ---- the command ----------------------------------------------------------------------------------------------------------------- */

int cmd_queue(struct admin *a, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    static const char usual[] = SYSCONFDIR "/postino/postino.conf";
    enum queue_form form = QUEUE_TABLE;
    struct error error;
    char run[512];
    int option;
    while ((option = getopt_long(argc, argv, "j", options, NULL)) != -1) {
        if (option != 'j')
            return usage();
        form = QUEUE_JSON;
    }
    const char *what = optind < argc ? argv[optind++] : "list";
    int status = place_run(strcmp(a->path, usual) == 0 ? NULL : a->path, run, sizeof run, &error);
    if (status != EX_OK)
        return fail(status, &error);
    if (strcmp(what, "list") == 0)
        return argc - optind > 1 ? usage() : list(run, form, argv[optind]);
    if (optind == argc)
        return usage();
    if (strcmp(what, "show") == 0)
        return each_id(run, argv + optind, show_one);
    if (strcmp(what, "retry") == 0)
        return each_id(run, argv + optind, retry_one);
    return strcmp(what, "delete") == 0 ? each_id(run, argv + optind, delete_one) : usage();
}
