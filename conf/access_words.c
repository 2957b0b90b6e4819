#include "conf/access_words.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define PATH_MOST   107 /* of a UNIX socket */
#define ZONE_MOST   180 /* with an IPv6 address in front it is still a name */
#define WEIGHT_MOST 1000

enum argument { ARGUMENT_NONE, ARGUMENT_TABLE, ARGUMENT_ZONE, ARGUMENT_SERVICE };

#define ACCESS_WORD(name, argument) {#name, ARGUMENT_##argument},
static const struct {
    const char *name;
    enum argument argument;
} words[] = {ACCESS_WORDS(ACCESS_WORD)};
#undef ACCESS_WORD

/* ---- zones --------------------------------------------------------------------------------------------------------------------- */

static int parse_filter(struct span text, struct access_zone *z)
{
    for (;;) {
        const char *comma = text.n ? memchr(text.p, ',', text.n) : NULL;
        size_t n = comma ? (size_t)(comma - text.p) : text.n;
        if (z->answer_count == ACCESS_FILTERS)
            return -1;
        struct network *network = &z->answers[z->answer_count++];
        if (!network_parse(span_make(text.p, n), network) || network->family != AF_INET)
            return -1;
        if (!comma)
            return 0;
        text = span_make(comma + 1, text.n - n - 1);
    }
}

static bool parse_weight(struct span text, int *weight)
{
    char digits[16] = "", *end;
    if (text.n == 0 || text.n >= sizeof digits)
        return false;
    memcpy(digits, text.p, text.n);
    long n = strtol(digits, &end, 10);
    *weight = (int)n;
    return *end == '\0' && n >= -WEIGHT_MOST && n <= WEIGHT_MOST && n != 0;
}

int access_zone_parse(struct span text, bool weighted, struct access_zone *z, struct error *error)
{
    const char *star = weighted && text.n ? memchr(text.p, '*', text.n) : NULL;
    size_t n = star ? (size_t)(star - text.p) : text.n;
    const char *equals = n ? memchr(text.p, '=', n) : NULL;
    *z = (struct access_zone){.name = span_make(text.p, equals ? (size_t)(equals - text.p) : n), .weight = 1};
    if (z->name.n > ZONE_MOST || !address_is_domain(z->name, false))
        return error_set(error, "\"%.*s\" is no zone; write zen.spamhaus.org, zen.spamhaus.org=127.0.0.4%s", SPAN_ARG(text),
                         weighted ? ", or zen.spamhaus.org*2" : "");
    if (equals && parse_filter(span_make(equals + 1, n - z->name.n - 1), z) != 0)
        return error_set(error, "\"%.*s\": behind = stand IPv4 addresses or networks; write 127.0.0.4, or 127.0.0.2,127.0.0.8/30",
                         SPAN_ARG(text));
    if (star && !parse_weight(span_make(star + 1, text.n - n - 1), &z->weight))
        return error_set(error, "\"%.*s\": what stands behind * is not a weight; write a number from -%d to %d, and not 0", SPAN_ARG(text),
                         WEIGHT_MOST, WEIGHT_MOST);
    return 0;
}

/* ---- rules --------------------------------------------------------------------------------------------------------------------- */

static struct span next_word(const char **text)
{
    const char *p = *text + strspn(*text, " \t");
    size_t n = strcspn(p, " \t");
    *text = p + n;
    return span_make(p, n);
}

static bool begins(struct span text, const char *start)
{
    size_t n = strlen(start);
    return text.n > n && memcmp(text.p, start, n) == 0;
}

static bool unix_address(struct span path, struct sockaddr_storage *out, socklen_t *length)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path.n > PATH_MOST)
        return false;
    memcpy(address.sun_path, path.p, path.n);
    memcpy(out, &address, sizeof address);
    *length = sizeof address;
    return true;
}

static bool parse_port(struct span text, unsigned *port)
{
    *port = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || i > 4)
            return false;
        *port = *port * 10 + (unsigned)(text.p[i] - '0');
    }
    return *port > 0 && *port <= 65535;
}

/* "127.0.0.1:10023", "[::1]:10023" */
static bool inet_address(struct span text, struct sockaddr_storage *out, socklen_t *length)
{
    const char *colon = memrchr(text.p, ':', text.n);
    unsigned port;
    if (colon == NULL || !parse_port(span_make(colon + 1, text.n - (size_t)(colon - text.p) - 1), &port))
        return false;
    text.n = (size_t)(colon - text.p);
    bool bracketed = text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']';
    if (bracketed)
        text = span_make(text.p + 1, text.n - 2);
    return bracketed == (memchr(text.p, ':', text.n) != NULL) && address_to_socket(text, port, out, length);
}

bool access_service_address(struct span text, struct sockaddr_storage *out, socklen_t *length)
{
    memset(out, 0, sizeof *out);
    if (text.n == 0)
        return false;
    return text.p[0] == '/' ? text.n > 1 && unix_address(text, out, length) : inet_address(text, out, length);
}

static int check_argument(enum argument kind, const char *name, struct span *argument, struct error *error)
{
    struct access_zone zone;
    struct sockaddr_storage address;
    socklen_t length;
    switch (kind) {
    case ARGUMENT_NONE:
        return argument->n == 0 ? 0 : error_set(error, "%s takes nothing behind it; write it alone", name);
    case ARGUMENT_TABLE:
        if (begins(*argument, "hash:/") || begins(*argument, "btree:/") || begins(*argument, "cidr:/"))
            return 0;
        return error_set(error, "%s takes a table; write hash:/path, btree:/path or cidr:/path", name);
    case ARGUMENT_ZONE:
        return access_zone_parse(*argument, false, &zone, error);
    case ARGUMENT_SERVICE:
        *argument =
            begins(*argument, "unix:") || begins(*argument, "inet:") ? span_make(argument->p + 5, argument->n - 5) : span_make("", 0);
        if (access_service_address(*argument, &address, &length))
            return 0;
        return error_set(error, "%s takes a service; write unix:/path, inet:127.0.0.1:port or inet:[::1]:port, with an address and no name",
                         name);
    }
    return -1;
}

int access_words_parse(const char *text, struct access_words *out, struct error *error)
{
    const char *rest = text;
    struct span word = next_word(&rest);
    *out = (struct access_words){.word = ACCESS_WORD_COUNT, .warn = span_equal(word, SPAN_LITERAL("warn_if_reject"))};
    if (out->warn)
        word = next_word(&rest);
    for (unsigned i = 0; i < ACCESS_WORD_COUNT; i++)
        if (span_equal(word, span_of(words[i].name)))
            out->word = (enum access_word)i;
    if (out->word == ACCESS_WORD_COUNT)
        return error_set(error, "there is no rule \"%.*s\"; postino.conf(5) lists them", SPAN_ARG(word));
    out->argument = next_word(&rest);
    if (next_word(&rest).n > 0)
        return error_set(error, "%s has too many words behind it; each rule is a text of its own", words[out->word].name);
    return check_argument(words[out->word].argument, words[out->word].name, &out->argument, error);
}
