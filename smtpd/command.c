#include "smtpd/command.h"

#define HELO_MOST ((size_t)255)
#define MANY      ((size_t)-1)

static const struct {
    const char *name;
    enum verb verb;
} verbs[] = {
    {"HELO", VERB_HELO}, {"EHLO", VERB_EHLO},         {"MAIL", VERB_MAIL},    {"RCPT", VERB_RCPT},    {"DATA", VERB_DATA},
    {"RSET", VERB_RSET}, {"NOOP", VERB_NOOP},         {"QUIT", VERB_QUIT},    {"VRFY", VERB_VRFY},    {"EXPN", VERB_EXPN},
    {"HELP", VERB_HELP}, {"STARTTLS", VERB_STARTTLS}, {"AUTH", VERB_AUTH},    {"GET", VERB_HTTP},     {"POST", VERB_HTTP},
    {"HEAD", VERB_HTTP}, {"PUT", VERB_HTTP},          {"CONNECT", VERB_HTTP}, {"OPTIONS", VERB_HTTP},
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

static bool printable(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] < ' ' || s.p[i] == 0x7f) && s.p[i] != '\t') /* char is signed: octets above 127 are below blank */
            return false;
    return true;
}

static struct span skip(struct span s, size_t n)
{
    return n < s.n ? span_make(s.p + n, s.n - n) : span_make(s.p + s.n, 0);
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

/* ---- parameters ------------------------------------------------------------------------------------------------------------------ */

/* RFC 1870: up to 20 digits. What does not fit is as large as can be. */
static bool parse_size(struct span value, uint64_t *out)
{
    if (value.n == 0 || value.n > 20)
        return false;
    uint64_t n = 0;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(value.p[i] - '0');
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, digit, &n))
            n = UINT64_MAX;
        if (n == UINT64_MAX)
            break;
    }
    *out = n;
    return true;
}

static bool parse_body(struct span value, enum body *out)
{
    if (span_equal_nocase(value, SPAN_LITERAL("7BIT")))
        *out = BODY_7BIT;
    else if (span_equal_nocase(value, SPAN_LITERAL("8BITMIME")))
        *out = BODY_8BITMIME;
    else
        return false;
    return true;
}

/* ---- parameters of RFC 3461 ------------------------------------------------------------------------------------------------------ */

#define ENVID_MOST ((size_t)100)
#define ORCPT_MOST ((size_t)500)

/* xtext of at least one character that hides nothing but printable ASCII: no line end, no header that is not ours. */
static bool is_xtext(struct span value)
{
    struct buf decoded = BUF_EMPTY(ORCPT_MOST);
    bool good = value.n && xtext_decode(value, &decoded);
    for (size_t i = 0; good && i < decoded.len; i++)
        good = decoded.data[i] >= ' ' && decoded.data[i] <= '~';
    buf_free(&decoded);
    return good;
}

static bool parse_ret(struct span value, struct command *c)
{
    c->ret = span_equal_nocase(value, SPAN_LITERAL("FULL"))   ? RET_FULL
             : span_equal_nocase(value, SPAN_LITERAL("HDRS")) ? RET_HDRS
                                                              : RET_UNSET;
    return c->ret != RET_UNSET;
}

static bool parse_envid(struct span value, struct command *c)
{
    c->envid = value;
    return value.n <= ENVID_MOST && is_xtext(value);
}

static uint16_t notify_of(struct span word)
{
    static const struct {
        struct span word;
        uint16_t bit;
    } words[] = {
        {{"NEVER", 5}, NOTIFY_NEVER}, {{"SUCCESS", 7}, NOTIFY_SUCCESS}, {{"FAILURE", 7}, NOTIFY_FAILURE}, {{"DELAY", 5}, NOTIFY_DELAY}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (span_equal_nocase(word, words[i].word))
            return words[i].bit;
    return 0;
}

static bool parse_notify(struct span value, struct command *c)
{
    for (bool more = true; more;) {
        const char *comma = value.n ? memchr(value.p, ',', value.n) : NULL;
        struct span word = span_make(value.p, comma ? (size_t)(comma - value.p) : value.n);
        uint16_t bit = notify_of(word);
        if (!bit || c->notify & (bit | NOTIFY_NEVER) || (c->notify && bit == NOTIFY_NEVER))
            return false;
        c->notify |= bit;
        more = comma != NULL;
        value = skip(value, word.n + 1);
    }
    return true;
}

/* An address type is an atom: rfc822, utf-8, or what we never heard of. */
static bool is_atom(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f || strchr("()<>@,;:\\\".[]+=", s.p[i]))
            return false;
    return s.n > 0;
}

static bool parse_orcpt(struct span value, struct command *c)
{
    const char *semicolon = value.n ? memchr(value.p, ';', value.n) : NULL;
    size_t type = semicolon ? (size_t)(semicolon - value.p) : value.n;
    c->orcpt = value;
    return semicolon && value.n <= ORCPT_MOST && is_atom(span_make(value.p, type)) && is_xtext(skip(value, type + 1));
}

/* ---- all parameters -------------------------------------------------------------------------------------------------------------- */

static bool take_size(struct span value, struct command *c)
{
    return parse_size(value, &c->size);
}

static bool take_body(struct span value, struct command *c)
{
    return parse_body(value, &c->body);
}

/* RFC 4954 5: who sent it first; nothing that we would pass on. */
static bool take_auth(struct span value, struct command *c)
{
    (void)c;
    return value.n > 0;
}

static const struct parameter {
    struct span key;
    enum verb verb;
    bool (*take)(struct span value, struct command *);
    enum command_result twice;
} parameters[] = {
    {{"SIZE", 4}, VERB_MAIL, take_size, COMMAND_PARAMETER}, {{"BODY", 4}, VERB_MAIL, take_body, COMMAND_PARAMETER},
    {{"AUTH", 4}, VERB_MAIL, take_auth, COMMAND_PARAMETER}, {{"RET", 3}, VERB_MAIL, parse_ret, COMMAND_VALUE},
    {{"ENVID", 5}, VERB_MAIL, parse_envid, COMMAND_VALUE},  {{"NOTIFY", 6}, VERB_RCPT, parse_notify, COMMAND_VALUE},
    {{"ORCPT", 5}, VERB_RCPT, parse_orcpt, COMMAND_VALUE},
};

#define PARAMETERS (sizeof parameters / sizeof parameters[0])

static enum command_result take_parameter(struct command *c, struct span word, unsigned *seen)
{
    const char *equals = memchr(word.p, '=', word.n);
    struct span key = equals ? span_make(word.p, (size_t)(equals - word.p)) : word;
    size_t i = 0;
    while (i < PARAMETERS && !(parameters[i].verb == c->verb && span_equal_nocase(key, parameters[i].key)))
        i++;
    if (i == PARAMETERS)
        return COMMAND_PARAMETER;
    if (*seen & 1u << i)
        return parameters[i].twice;
    *seen |= 1u << i;
    return parameters[i].take(skip(word, key.n + 1), c) ? COMMAND_OK : COMMAND_VALUE;
}

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
        result = take_parameter(c, word, &seen);
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

static enum command_result parse_text(struct command *c, struct span rest, size_t least, size_t most)
{
    c->argument = rest;
    return rest.n >= least && rest.n <= most ? COMMAND_OK : COMMAND_SYNTAX;
}

static enum command_result parse_arguments(struct command *c, struct span rest)
{
    switch (c->verb) {
    case VERB_HELO:
    case VERB_EHLO:
        return parse_helo(c, rest);
    case VERB_MAIL:
        return parse_path(c, rest, "FROM:", ADDRESS_ALLOW_NULL | ADDRESS_ALLOW_BARE);
    case VERB_RCPT:
        return parse_path(c, rest, "TO:", ADDRESS_ALLOW_BARE);
    case VERB_AUTH:
        return parse_auth(c, rest);
    case VERB_VRFY:
    case VERB_EXPN:
        return parse_text(c, rest, 1, MANY);
    case VERB_NOOP:
    case VERB_HELP:
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
    if (!printable(line))
        return COMMAND_CHARACTERS;
    return parse_arguments(c, rest);
}
