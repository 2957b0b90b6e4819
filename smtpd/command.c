#include "smtpd/command.h"
#include "common/utf8.h"
#include "smtpd/parameters.h"

#define HELO_MOST ((size_t)255)
#define MANY      ((size_t)-1)

static const struct {
    const char *name;
    enum verb verb;
} verbs[] = {
    {"HELO", VERB_HELO}, {"EHLO", VERB_EHLO},       {"LHLO", VERB_LHLO},         {"MAIL", VERB_MAIL},         {"RCPT", VERB_RCPT},
    {"DATA", VERB_DATA}, {"BDAT", VERB_BDAT},       {"RSET", VERB_RSET},         {"NOOP", VERB_NOOP},         {"QUIT", VERB_QUIT},
    {"VRFY", VERB_VRFY}, {"EXPN", VERB_EXPN},       {"HELP", VERB_HELP},         {"STARTTLS", VERB_STARTTLS}, {"AUTH", VERB_AUTH},
    {"ETRN", VERB_ETRN}, {"XCLIENT", VERB_XCLIENT}, {"XFORWARD", VERB_XFORWARD}, {"GET", VERB_HTTP},          {"POST", VERB_HTTP},
    {"HEAD", VERB_HTTP}, {"PUT", VERB_HTTP},        {"CONNECT", VERB_HTTP},      {"OPTIONS", VERB_HTTP},
};

#define VERBS (sizeof verbs / sizeof verbs[0])

const char *command_verb_name(enum verb verb)
{
    for (size_t i = 0; i < VERBS; i++)
        if (verbs[i].verb == verb && verb != VERB_HTTP)
            return verbs[i].name;
    return verb == VERB_HTTP ? "HTTP" : "unknown";
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct span skip(struct span s, size_t n)
{
    return n < s.n ? span_make(s.p + n, s.n - n) : span_make(s.p + s.n, 0);
}

/* RFC 6531 3.4, 3.7.4.2: HELO and all others stay ASCII. */
static bool takes_utf8(enum verb verb)
{
    return verb == VERB_MAIL || verb == VERB_RCPT || verb == VERB_VRFY || verb == VERB_EXPN;
}

static bool printable(struct span s, bool utf8)
{
    while (s.n) {
        char c = *s.p;
        bool ascii = (c >= ' ' && c < 0x7f) || c == '\t'; /* char is signed: octets above 127 are below blank */
        size_t n = ascii ? 1 : utf8 ? utf8_length(s) : 0;
        if (!n)
            return false;
        s = skip(s, n);
    }
    return true;
}

static struct span trim_front(struct span s)
{
    while (s.n && is_blank(*s.p))
        s = skip(s, 1);
    return s;
}

static struct span trim_back(struct span s)
{
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The word up to the next blank; `rest` moves behind it and the blanks. */
static struct span take_word(struct span *rest)
{
    struct span word = *rest;
    word.n = 0;
    while (word.n < rest->n && !is_blank(rest->p[word.n]))
        word.n++;
    *rest = trim_front(skip(*rest, word.n));
    return word;
}

static bool starts_with(struct span s, const char *text)
{
    size_t n = strlen(text);
    return s.n >= n && strncasecmp(s.p, text, n) == 0;
}

static enum verb find_verb(struct span word)
{
    for (size_t i = 0; i < VERBS; i++)
        if (span_equal_nocase(word, span_of(verbs[i].name)))
            return verbs[i].verb;
    return VERB_UNKNOWN;
}

/* ---- arguments ------------------------------------------------------------------------------------------------------------------- */

static enum command_result parse_path(struct command *c, struct span rest, const char *keyword, int flags)
{
    if (!starts_with(rest, keyword))
        return COMMAND_SYNTAX;
    rest = trim_front(skip(rest, strlen(keyword)));
    if (!rest.n)
        return COMMAND_SYNTAX;
    if (!address_parse_path(&rest, flags, &c->path))
        return COMMAND_PATH;
    if (rest.n && !is_blank(*rest.p))
        return COMMAND_PATH;
    rest = trim_front(rest);
    enum command_result result = COMMAND_OK;
    for (unsigned seen = 0; rest.n && result == COMMAND_OK;) {
        struct span word = take_word(&rest);
        result = parameter_take(c, word, &seen);
    }
    return result;
}

/* ---- verbs ----------------------------------------------------------------------------------------------------------------------- */

static enum command_result parse_helo(struct command *c, struct span rest)
{
    c->argument = take_word(&rest);
    return c->argument.n && c->argument.n <= HELO_MOST && !rest.n ? COMMAND_OK : COMMAND_SYNTAX;
}

static enum command_result parse_auth(struct command *c, struct span rest)
{
    c->argument = take_word(&rest);
    c->initial = take_word(&rest);
    c->has_initial = c->initial.n > 0;
    return c->argument.n && !rest.n ? COMMAND_OK : COMMAND_SYNTAX;
}

/* RFC 3030 2: what would be another number to another reader (no number, a sign, leading zeros, too many digits) is none here. */
static enum command_result parse_bdat(struct command *c, struct span rest)
{
    struct span size = take_word(&rest), last = take_word(&rest);
    c->last = last.n > 0;
    if (!size.n || rest.n || (last.n && !span_equal_nocase(last, SPAN_LITERAL("LAST"))) || (*size.p == '0' && size.n > 1))
        return COMMAND_SYNTAX;
    for (size_t i = 0; i < size.n; i++)
        if (size.p[i] < '0' || size.p[i] > '9' || __builtin_mul_overflow(c->size, 10, &c->size) ||
            __builtin_add_overflow(c->size, (uint64_t)(size.p[i] - '0'), &c->size))
            return COMMAND_SYNTAX;
    return COMMAND_OK;
}

static enum command_result parse_text(struct command *c, struct span rest, size_t least, size_t most)
{
    c->argument = rest;
    return rest.n >= least && rest.n <= most ? COMMAND_OK : COMMAND_SYNTAX;
}

/* VRFY, EXPN: what is asked for, and SMTPUTF8 as a word behind it (RFC 6531 3.7.4.2). */
static enum command_result parse_name(struct command *c, struct span rest)
{
    static const struct span word = SPAN_LITERAL("SMTPUTF8");
    size_t before = rest.n > word.n ? rest.n - word.n : 0;
    c->smtputf8 = before && is_blank(rest.p[before - 1]) && span_equal_nocase(skip(rest, before), word);
    return parse_text(c, c->smtputf8 ? trim_back(span_make(rest.p, before)) : rest, 1, MANY);
}

static enum command_result parse_arguments(struct command *c, struct span rest)
{
    switch (c->verb) {
    case VERB_HELO:
    case VERB_EHLO:
    case VERB_LHLO:
        return parse_helo(c, rest);
    case VERB_MAIL:
        return parse_path(c, rest, "FROM:", ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8);
    case VERB_RCPT:
        return parse_path(c, rest, "TO:", ADDRESS_ALLOW_BARE | ADDRESS_ALLOW_UTF8);
    case VERB_AUTH:
        return parse_auth(c, rest);
    case VERB_BDAT:
        return parse_bdat(c, rest);
    case VERB_VRFY:
    case VERB_EXPN:
        return parse_name(c, rest);
    case VERB_ETRN:
        return parse_text(c, rest, 1, MANY);
    case VERB_NOOP:
    case VERB_HELP:
    case VERB_XCLIENT:
    case VERB_XFORWARD:
        return parse_text(c, rest, 0, MANY);
    case VERB_DATA:
    case VERB_RSET:
    case VERB_QUIT:
    case VERB_STARTTLS:
        return parse_text(c, rest, 0, 0);
    case VERB_HTTP:
        return COMMAND_OK;
    case VERB_UNKNOWN:
        break;
    }
    return COMMAND_UNKNOWN;
}

enum command_result command_parse(struct span line, struct command *c)
{
    *c = (struct command){.verb = VERB_UNKNOWN};
    struct span rest = trim_back(line);
    c->word = take_word(&rest);
    c->verb = find_verb(c->word);
    if (!printable(line, takes_utf8(c->verb)))
        return COMMAND_CHARACTERS;
    return parse_arguments(c, rest);
}
