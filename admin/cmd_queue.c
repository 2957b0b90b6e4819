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
                          "       postino queue show ID...\n"
                          "       postino queue hold|release|retry|reroute|delete WHICH\n"
                          "       postino queue priority high|normal|low WHICH\n"
                          "       postino queue flush SITE|DOMAIN...\n"
                          "WHICH is ID..., all, or [--site SITE] [--sender ADDRESS] [--recipient ADDRESS]; an ADDRESS may be @domain\n");
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

/* What its sender asked for. */
static void print_times(const struct record_entry *e)
{
    if (e->mt_priority)
        (void)printf("mt-priority: %d\n", (int)e->mt_priority - MT_PRIORITY_ZERO);
    if (e->release)
        print_time("release", e->release);
    if (e->by_mode)
        print_time(e->by_mode & BY_RETURN ? "deliver-by-or-return" : "deliver-by-or-notify", e->deliver_by);
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
        (void)printf("priority: %s\n", queue_print_priority(e->priority));
        print_times(e);
        if (e->held)
            (void)printf("held: yes\n");
    }
    print_line("recipient", e->recipient);
    (void)printf("  state: %s\n  attempts: %" PRIu32 "\n", e->state < 4 ? states[e->state] : "?", e->attempts);
    if (e->state == RECIPIENT_WAITING)
        print_time("  next-attempt", e->due);
    if (e->way.n)
        print_line("  way", e->way);
    if (e->reason.n)
        print_line("  reason", e->reason);
    return true;
}

/* Lines end in LF here; and a terminal is not sent what a stranger would have it do. */
struct shown {
    unsigned char before; /* the octet before this piece */
};

/* A stranger's text must not steer a terminal: C0, DEL, and C1 as UTF-8 has it. */
static bool steers(unsigned char before, unsigned char c)
{
    return (c < 32 && c != '\n' && c != '\t' && c != '\r') || c == 127 || (before == 0xc2 && c >= 0x80 && c < 0xa0);
}

static bool print_piece(struct span piece, void *arg, struct error *error)
{
    struct shown *shown = arg;
    bool terminal = isatty(STDOUT_FILENO);
    for (size_t i = 0; i < piece.n; i++) {
        unsigned char c = (unsigned char)piece.p[i], before = shown->before;
        if (before == '\r' && c != '\n')
            (void)fputc(terminal ? '?' : '\r', stdout);
        shown->before = c;
        if (c != '\r')
            (void)fputc(terminal && steers(before, c) ? '?' : c, stdout);
    }
    if (!ferror(stdout))
        return true;
    (void)error_set(error, "the output can't be written; look at where it goes");
    return false;
}

static int show(struct queue_client *q, uint64_t id, struct error *error)
{
    size_t count = 0;
    struct shown shown = {0};
    int status = queue_list(q, id, print_envelope, &count, error);
    if (status != EX_OK)
        return status;
    if (count == 0) {
        (void)error_set(error, "%s: there is no such message in the queue", queueid_format(id).text);
        return EX_NOINPUT;
    }
    (void)fputc('\n', stdout);
    return queue_text(q, id, print_piece, &shown, error);
}

/* ---- orders ---------------------------------------------------------------------------------------------------------------------- */

static const struct order {
    const char *name;
    enum order_kind kind;
    const char *done;
} orders[] = {
    {"retry", ORDER_RETRY, "will be tried now"},
    {"delete", ORDER_DELETE, "deleted"},
    {"hold", ORDER_HOLD, "held"},
    {"release", ORDER_RELEASE, "released"},
    {"priority", ORDER_PRIORITY, "that priority was given"},
    {"reroute", ORDER_REROUTE, "go another way now"},
    {"flush", ORDER_FLUSH, "deliveries that waited are tried now"},
};

/* What is being ordered: filled from the command line, then read for each id. */
static struct {
    const struct order *order;
    enum priority priority;
    struct queue_selection selection;
    bool selects; /* by --site and so on */
} given;

static const struct order *find_order(const char *name)
{
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++)
        if (strcmp(orders[i].name, name) == 0)
            return &orders[i];
    return NULL;
}

static int give_order(struct queue_client *q, const char *which, struct error *error)
{
    struct queue_answer answer;
    int status = queue_order(q, given.order->kind, given.priority, &given.selection, &answer, error);
    if (status != EX_OK)
        return status;
    if (answer.count == 0 && answer.left > 0 && given.selection.id) {
        (void)error_set(error, "%s: %s", which, answer.words);
        return EX_UNAVAILABLE;
    }
    (void)printf("%s: %s (%" PRIu32 ")\n", which, given.order->done, answer.count);
    if (answer.left > 0 && given.order->kind == ORDER_DELETE)
        (void)printf("%" PRIu32 " left: they go elsewhere as well; delete them by ID\n", answer.left);
    else if (answer.left > 0)
        (void)printf("%" PRIu32 " left as they were\n", answer.left);
    bool nothing = answer.count == 0 && answer.left == 0 && given.selects;
    if (nothing)
        (void)puts("nothing in the queue fits that (--site takes a name as postino sites prints it, a host, or its domain)");
    else if (strcmp(answer.words, "Done") != 0)
        (void)printf("%s\n", answer.words);
    return EX_OK;
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

/* What is deleted does not come back: for all of it the word is in capitals, as postsuper wants it. */
static bool means_all(const char *text)
{
    return strcmp(text, "ALL") == 0 || (strcmp(text, "all") == 0 && given.order->kind != ORDER_DELETE);
}

static int order_one(struct queue_client *q, const char *text, struct error *error)
{
    given.selection.id = 0;
    if (means_all(text) || parse_id(text, &given.selection.id))
        return give_order(q, text, error);
    if (strcmp(text, "all") == 0)
        return admin_fail(EX_DATAERR, "queue", "delete all: write ALL in capitals, if every message is to go");
    return no_id(text);
}

static int no_site(struct error *error)
{
    (void)error_set(error,
                    "%s: there is no site of that name, so nothing was changed; postino sites lists them, and retry --recipient @domain "
                    "takes any way",
                    given.selection.site);
    return EX_NOINPUT;
}

static int flush_one(struct queue_client *q, const char *text, struct error *error)
{
    given.selection.site = text;
    int status = give_order(q, text, error);
    return status == EX_NOINPUT ? no_site(error) : status;
}

static int order_selected(struct queue_client *q, const char *text, struct error *error)
{
    int status = give_order(q, text, error);
    return status == EX_NOINPUT ? no_site(error) : status;
}

static bool take_priority(const char *word)
{
    static const char *const words[] = {[PRIORITY_HIGH] = "high", [PRIORITY_NORMAL] = "normal", [PRIORITY_LOW] = "low"};
    for (unsigned i = PRIORITY_HIGH; word && i <= PRIORITY_LOW; i++)
        if (strcmp(words[i], word) == 0)
            given.priority = (enum priority)i;
    return given.priority != PRIORITY_UNSET;
}

static int run_order(const char *run, char **words)
{
    static char selection[] = "selection", *selected[] = {selection, NULL};
    if (given.order->kind == ORDER_PRIORITY && !take_priority(*words++))
        return usage();
    if (given.selects ? *words != NULL || given.order->kind == ORDER_FLUSH : *words == NULL)
        return usage();
    if (given.selects)
        return each_id(run, selected, order_selected);
    return each_id(run, words, given.order->kind == ORDER_FLUSH ? flush_one : order_one);
}

/* ---- the command ----------------------------------------------------------------------------------------------------------------- */

static int take_options(int argc, char **argv, enum queue_form *form)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"site", required_argument, NULL, 's'},
                                            {"sender", required_argument, NULL, 'f'},
                                            {"recipient", required_argument, NULL, 'r'},
                                            {0}};
    int option;
    given.selection = QUEUE_ALL;
    while ((option = getopt_long(argc, argv, "j", options, NULL)) != -1) {
        if (option == 'j')
            *form = QUEUE_JSON;
        else if (option == 's')
            given.selection.site = optarg;
        else if (option == 'f')
            given.selection.sender = *optarg ? optarg : "<>";
        else if (option == 'r')
            given.selection.recipient = optarg;
        else
            return usage();
    }
    given.selects = *given.selection.site || *given.selection.sender || *given.selection.recipient;
    return EX_OK;
}

int cmd_queue(struct admin *a, int argc, char **argv)
{
    static const char usual[] = SYSCONFDIR "/postino/postino.conf";
    enum queue_form form = QUEUE_TABLE;
    struct error error;
    char run[512];
    int status = take_options(argc, argv, &form);
    if (status != EX_OK)
        return status;
    const char *what = optind < argc ? argv[optind++] : "list";
    status = place_run("postino queue", strcmp(a->path, usual) == 0 ? NULL : a->path, run, sizeof run, &error);
    if (status != EX_OK)
        return fail(status, &error);
    if ((given.order = find_order(what)))
        return run_order(run, argv + optind);
    if (given.selects)
        return usage();
    if (strcmp(what, "list") == 0)
        return argc - optind > 1 ? usage() : list(run, form, argv[optind]);
    return strcmp(what, "show") == 0 && optind < argc ? each_id(run, argv + optind, show_one) : usage();
}
