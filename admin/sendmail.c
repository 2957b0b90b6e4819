/* sendmail: hands a message to Postino, with the options that programs have called /usr/sbin/sendmail with for decades. */
#include "admin/headers.h"
#include "admin/letter.h"
#include "admin/place.h"
#include "admin/queue_print.h"
#include "admin/submit.h"
#include "common/address.h"
#include "common/queueid.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

enum mode { MODE_SEND, MODE_SMTP, MODE_LIST, MODE_ALIASES, MODE_RETRY, MODE_UNKNOWN };

struct options {
    enum mode mode;
    const char *file;   /* -C */
    const char *sender; /* -f; NULL: the caller */
    const char *name;   /* -F; NULL: the caller's */
    const char *notify, *ret, *envid;
    const char *retry; /* -qI: one queue id; NULL: all, or what -qS, -qR say */
    const char *retry_sender, *retry_recipient;
    bool from_header; /* -t */
    bool dot_is_text; /* -i */
    bool verbose;
};

__attribute__((format(printf, 2, 3))) static int complain(int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)fputs("sendmail: ", stderr);
    (void)vfprintf(stderr, fmt, ap);
    (void)fputc('\n', stderr);
    va_end(ap);
    return status;
}

/* ---- the command line ------------------------------------------------------------------------------------------------------------ */

static enum mode mode_of(const char *letter)
{
    switch (letter[0]) {
    case 'm':
        return MODE_SEND;
    case 's':
        return MODE_SMTP;
    case 'p':
        return MODE_LIST;
    case 'i':
        return MODE_ALIASES;
    default:
        return MODE_UNKNOWN;
    }
}

/* -b d, D, h, H, l, t, v: a daemon, a test mode, or what only sendmail itself has. */
static int take_mode(struct options *o, const char *letter)
{
    o->mode = mode_of(letter);
    if (o->mode != MODE_UNKNOWN)
        return EX_OK;
    if (letter[0] == 'd' || letter[0] == 'l' || letter[0] == 'D')
        return complain(EX_USAGE, "-b%s: mail is received by postino-master; start that", letter);
    return complain(EX_USAGE, "-b%s is not supported", letter);
}

static int take_q(struct options *o, const char *what)
{
    o->mode = MODE_RETRY;
    if (!what || (what[0] >= '0' && what[0] <= '9'))
        return EX_OK;
    if (!strchr("ISR", what[0]) || !what[1])
        return complain(EX_USAGE, "-q%s is not supported; use -q, -qI and a queue id, or -qS or -qR and an address or domain", what);
    *(what[0] == 'I' ? &o->retry : what[0] == 'S' ? &o->retry_sender : &o->retry_recipient) = what + 1;
    return EX_OK;
}

/* -oX: the settings of old that mean something here. */
static void take_o(struct options *o, const char *what)
{
    if (what[0] == 'i')
        o->dot_is_text = true;
}

static bool word_in(const char *word, size_t n, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == n && strncasecmp(word, *words, n) == 0)
            return true;
    return false;
}

/* RFC 3461 4.1: never, or any of the others, each once. */
static bool notify_ok(const char *list)
{
    static const char *const words[] = {"success", "failure", "delay"};
    unsigned seen = 0;
    if (strcasecmp(list, "never") == 0)
        return true;
    for (;; list++) {
        size_t n = strcspn(list, ","), i = 0;
        while (i < 3 && !word_in(list, n, (const char *const[]){words[i], NULL}))
            i++;
        if (i == 3 || seen & 1u << i)
            return false;
        seen |= 1u << i;
        list += n;
        if (!*list)
            return true;
    }
}

/* What smtpd takes: printable ASCII, 100 characters as xtext (RFC 3461 4.4). */
static bool envid_ok(const char *envid)
{
    struct buf xtext = BUF_EMPTY(4096);
    xtext_encode(span_of(envid), &xtext);
    bool good = *envid && !xtext.failed && xtext.len <= 100;
    buf_free(&xtext);
    for (; good && *envid; envid++)
        good = *envid >= ' ' && *envid <= '~';
    return good;
}

static int take_dsn(struct options *o, int option, const char *value)
{
    static const char *const rets[] = {"full", "hdrs", NULL};
    if (option == 'N' && !notify_ok(value))
        return complain(EX_USAGE, "-N %s: it is never, or a list of success, failure and delay", value);
    if (option == 'R' && !word_in(value, strlen(value), rets))
        return complain(EX_USAGE, "-R %s: it is full or hdrs", value);
    if (option == 'V' && !envid_ok(value))
        return complain(EX_USAGE, "-V: an envelope id has 1 to 100 characters of ASCII");
    *(option == 'N' ? &o->notify : option == 'R' ? &o->ret : &o->envid) = value;
    return EX_OK;
}

static int take_body_type(const char *value)
{
    static const char *const types[] = {"7BIT", "8BITMIME", NULL};
    if (word_in(value, strlen(value), types))
        return EX_OK; /* what it is, is seen from the message */
    return complain(EX_USAGE, "-B %s: it is 7BIT or 8BITMIME", value);
}

static int take_option(struct options *o, int option, const char *value)
{
    switch (option) {
    case 'b':
        return take_mode(o, value);
    case 'q':
        return take_q(o, value);
    case 'B':
        return take_body_type(value);
    case 'N':
    case 'R':
    case 'V':
        return take_dsn(o, option, value);
    case 'C':
        o->file = value;
        break;
    case 'F':
        o->name = value;
        break;
    case 'f':
    case 'r':
        o->sender = value;
        break;
    case 'i':
        o->dot_is_text = true;
        break;
    case 'I':
        o->mode = MODE_ALIASES;
        break;
    case 'o':
        take_o(o, value);
        break;
    case 't':
        o->from_header = true;
        break;
    case 'v':
        o->verbose = true;
        break;
    case '?':
        return complain(EX_USAGE, "see sendmail(8) for its options");
    default:
        break; /* A D G L O U X d e h m n p x: taken, and without meaning here */
    }
    return EX_OK;
}

static int take_options(struct options *o, int argc, char **argv)
{
    int option, status = EX_OK;
    while (status == EX_OK && (option = getopt(argc, argv, "A:B:C:D:F:GIL:N:O:R:UV:X:b:d::e:f:h:imno:p:q::r:tvx")) != -1)
        status = take_option(o, option, optarg);
    return status;
}

/* ---- sending --------------------------------------------------------------------------------------------------------------------- */

struct recipients {
    struct span *v; /* each is its own memory */
    size_t n, room;
};

static bool add_recipient(struct span address, void *arg, struct error *error)
{
    struct recipients *r = arg;
    for (size_t i = 0; i < r->n; i++)
        if (span_equal(r->v[i], address))
            return true;
    if (r->n == r->room) {
        size_t room = r->room ? r->room * 2 : 16;
        struct span *v = realloc(r->v, room * sizeof *v);
        if (!v)
            return error_set(error, "out of memory"), false;
        r->v = v;
        r->room = room;
    }
    char *copy = strndup(address.p, address.n);
    if (!copy)
        return error_set(error, "out of memory"), false;
    r->v[r->n++] = (struct span){copy, address.n};
    return true;
}

static int gather(struct recipients *r, const struct options *o, const struct letter *l, char **argv)
{
    struct error error;
    for (; *argv; argv++)
        if (headers_addresses(span_of(*argv), add_recipient, r, &error) < 0)
            return complain(EX_DATAERR, "recipient \"%s\": %s", *argv, error.text);
    if (o->from_header && headers_recipients(l->given, add_recipient, r, &error) < 0)
        return complain(EX_DATAERR, "%s", error.text);
    if (r->n)
        return EX_OK;
    return o->from_header ? complain(EX_DATAERR, "no recipient in To, Cc or Bcc of the message")
                          : complain(EX_USAGE, "recipients must be given as arguments, or with -t in the message");
}

struct sender {
    struct span address; /* without <> */
    struct span shown;   /* for a From field */
    struct span name;
    struct caller caller;
    bool prepend;
};

static void prepend_from(struct buf *out, const char *server, void *arg)
{
    const struct sender *s = arg;
    letter_from(s->shown, s->name, server, out);
}

static int find_sender(struct sender *s, const struct options *o)
{
    struct error error;
    struct address a;
    int status = caller_find(&s->caller, &error);
    s->address = span_of(o->sender ? o->sender : s->caller.user);
    if (o->sender && s->address.n >= 2 && s->address.p[0] == '<' && s->address.p[s->address.n - 1] == '>')
        s->address = (struct span){s->address.p + 1, s->address.n - 2};
    if (status != EX_OK && !o->sender)
        return complain(status, "%s", error.text);
    if (s->address.n && !address_parse(s->address, ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8, &a))
        return complain(EX_DATAERR, "-f %s: no address", o->sender ? o->sender : s->caller.user);
    s->shown = s->address.n ? s->address : span_of(status == EX_OK ? s->caller.user : "MAILER-DAEMON");
    s->name = span_of(o->name ? o->name : o->sender ? "" : s->caller.name);
    return EX_OK;
}

static int send_letter(const struct options *o, const char *run, const struct letter *l, char **argv)
{
    struct recipients r = {0};
    struct sender s = {0};
    struct error error;
    int status = gather(&r, o, l, argv);
    if (status == EX_OK)
        status = find_sender(&s, o);
    if (status == EX_OK) {
        struct submission m = {.sender = s.address,
                               .recipients = r.v,
                               .count = r.n,
                               .notify = o->notify,
                               .ret = o->ret,
                               .envid = o->envid,
                               .verbose = o->verbose,
                               .prepend = l->has_from ? NULL : prepend_from,
                               .arg = &s,
                               .header = buf_span(&l->header),
                               .body = l->body};
        status = submit(run, &m, &error);
        if (status != EX_OK && error.text[0])
            (void)complain(status, "%s", error.text);
    }
    for (size_t i = 0; i < r.n; i++)
        free((void *)(uintptr_t)r.v[i].p);
    free(r.v);
    return status;
}

static int send_input(const struct options *o, const char *run, char **argv)
{
    struct letter l;
    struct error error;
    if (!o->from_header && !*argv)
        return complain(EX_USAGE, "recipients must be given as arguments, or with -t in the message");
    int status = letter_read(&l, STDIN_FILENO, !o->dot_is_text, &error);
    status = status == EX_OK ? send_letter(o, run, &l, argv) : complain(status, "%s", error.text);
    letter_free(&l);
    return status;
}

/* ---- other modes ----------------------------------------------------------------------------------------------------------------- */

/* "example.org" is every address there. */
static const char *address_or_domain(const char *text, char to[512])
{
    if (!text)
        return "";
    (void)snprintf(to, 512, "%s%s", strchr(text, '@') || text[0] == '<' ? "" : "@", text);
    return to;
}

static int retry(const struct options *o, const char *run)
{
    char sender[512], recipient[512];
    struct queue_client q;
    struct queue_answer answer;
    struct error error;
    struct queue_selection s = QUEUE_ALL;
    if (o->retry && !queueid_parse(span_of(o->retry), &s.id))
        return complain(EX_DATAERR, "-qI%s: no queue id", o->retry);
    s.sender = address_or_domain(o->retry_sender, sender);
    s.recipient = address_or_domain(o->retry_recipient, recipient);
    int status = queue_open(&q, run, &error);
    if (status == EX_OK)
        status = queue_order(&q, ORDER_RETRY, PRIORITY_UNSET, &s, &answer, &error);
    queue_close(&q);
    return status == EX_OK ? status : complain(status, "%s", error.text);
}

/* newaliases is beside this program, or where the system has its commands. */
static int run_newaliases(const struct options *o)
{
    char self[PATH_MAX], path[PATH_MAX + 16];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *arguments[4] = {(char[]){"newaliases"}, NULL, NULL, NULL};
    if (o->file) {
        arguments[1] = (char[]){"-C"};
        arguments[2] = strdup(o->file);
    }
    if (n > 0) {
        self[n] = '\0';
        (void)snprintf(path, sizeof path, "%s/newaliases", dirname(self));
        (void)execv(path, arguments);
    }
    (void)execvp("newaliases", arguments);
    return complain(EX_UNAVAILABLE, "newaliases: %s; is Postino installed as a whole?", strerror(errno));
}

static int run_mode(const struct options *o, char **argv)
{
    char run[512];
    struct error error = {""};
    if (o->mode == MODE_ALIASES)
        return run_newaliases(o);
    int status = place_run("sendmail", o->file, run, sizeof run, &error);
    if (status == EX_OK && o->mode == MODE_SEND)
        return send_input(o, run, argv);
    if (status == EX_OK && o->mode == MODE_RETRY)
        return retry(o, run);
    if (status == EX_OK)
        status = o->mode == MODE_SMTP ? submit_relay(run, &error) : queue_print_all(run, 0, QUEUE_TABLE, stdout, &error);
    return status == EX_OK ? status : complain(status, "%s", error.text);
}

int main(int argc, char **argv)
{
    struct options o = {.mode = MODE_SEND};
    const char *called = argc && argv[0] ? argv[0] : "sendmail";
    const char *slash = strrchr(called, '/');
    called = slash ? slash + 1 : called;
    if (strcmp(called, "mailq") == 0)
        o.mode = MODE_LIST;
    if (strcmp(called, "newaliases") == 0)
        o.mode = MODE_ALIASES;
    (void)signal(SIGPIPE, SIG_IGN);
    int status = take_options(&o, argc, argv);
    return status == EX_OK ? run_mode(&o, argv + optind) : status;
}
