#include "smtpd/parameters.h"

#include "common/utf8.h"

static struct span skip(struct span s, size_t n)
{
    return n < s.n ? span_make(s.p + n, s.n - n) : span_make(s.p + s.n, 0);
}

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
    else if (span_equal_nocase(value, SPAN_LITERAL("BINARYMIME")))
        *out = BODY_BINARYMIME;
    else
        return false;
    return true;
}

/* ---- parameters of RFC 3461 ------------------------------------------------------------------------------------------------------ */

#define ENVID_MOST ((size_t)100)
#define ORCPT_MOST ((size_t)500)
#define ORCPT_LONG (ORCPT_MOST * 4) /* as utf-8-addr-xtext: \x{80} for two octets */

/* xtext of at least one character that hides nothing but printable ASCII: no line end, no header that is not ours. */
static bool is_xtext(struct span value)
{
    struct buf decoded = BUF_EMPTY(ENVID_MOST);
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
        struct span word;
        more = span_cut(&value, ',', &word);
        uint16_t bit = notify_of(word);
        if (!bit || c->notify & (bit | NOTIFY_NEVER) || (c->notify && bit == NOTIFY_NEVER))
            return false;
        c->notify |= bit;
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

/* With \x{...} for each character beyond ASCII, and all others as they are. */
static void to_ascii(struct span address, struct buf *out)
{
    while (address.n) {
        size_t n = utf8_length(address);
        if (n)
            xtext_encode_utf8(span_make(address.p, n), out);
        else
            buf_add_char(out, *address.p);
        address = skip(address, n ? n : 1);
    }
}

/* Postfix says rfc822 of every address, and has the octets of its UTF-8 in the xtext: what is beyond ASCII is of type utf-8. */
static bool add_decoded(struct span type, struct span decoded, struct buf *out)
{
    static const struct span utf8 = SPAN_LITERAL("utf-8");
    bool ascii = span_is_ascii(decoded), knows_utf8 = span_equal_nocase(type, utf8) || span_equal_nocase(type, SPAN_LITERAL("rfc822"));
    if (!decoded.n || (!ascii && !knows_utf8))
        return false;
    buf_add_span(out, ascii ? type : utf8);
    buf_add_char(out, ';');
    to_ascii(decoded, out);
    return !out->failed;
}

bool parameter_orcpt(struct span value, struct buf *out)
{
    const char *semicolon = value.n ? memchr(value.p, ';', value.n) : NULL;
    struct span type = span_make(value.p, semicolon ? (size_t)(semicolon - value.p) : 0);
    if (!semicolon || value.n > ORCPT_MOST || !is_atom(type))
        return false;
    struct span address = skip(value, type.n + 1);
    struct buf xtext = BUF_EMPTY(ORCPT_LONG), decoded = BUF_EMPTY(ORCPT_LONG);
    size_t before = out->len;
    to_ascii(address, &xtext);
    bool allowed = span_is_ascii(address) || span_equal_nocase(type, SPAN_LITERAL("utf-8"));
    bool good = allowed && xtext_decode(buf_span(&xtext), &decoded) && add_decoded(type, buf_span(&decoded), out);
    if (!good)
        out->len = before;
    buf_free(&xtext);
    buf_free(&decoded);
    return good;
}

static bool parse_orcpt(struct span value, struct command *c)
{
    struct buf unused = BUF_EMPTY(0);
    bool good = parameter_orcpt(value, &unused);
    c->orcpt = value;
    buf_free(&unused);
    return good;
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
    return value.n > 0 && span_is_ascii(value);
}

static const char absent[1]; /* where the value of a `key` alone is; that of `key=` is empty, but somewhere else */

static bool no_value(struct span value)
{
    return value.p == absent;
}

static bool take_smtputf8(struct span value, struct command *c)
{
    c->smtputf8 = true;
    return no_value(value);
}

static bool take_requiretls(struct span value, struct command *c)
{
    c->requiretls = true;
    return no_value(value);
}

static const struct parameter {
    struct span key;
    enum verb verb;
    bool (*take)(struct span value, struct command *);
    enum command_result twice;
} parameters[] = {
    {{"SIZE", 4}, VERB_MAIL, take_size, COMMAND_PARAMETER},
    {{"BODY", 4}, VERB_MAIL, take_body, COMMAND_PARAMETER},
    {{"AUTH", 4}, VERB_MAIL, take_auth, COMMAND_PARAMETER},
    {{"RET", 3}, VERB_MAIL, parse_ret, COMMAND_VALUE},
    {{"ENVID", 5}, VERB_MAIL, parse_envid, COMMAND_VALUE},
    {{"NOTIFY", 6}, VERB_RCPT, parse_notify, COMMAND_VALUE},
    {{"ORCPT", 5}, VERB_RCPT, parse_orcpt, COMMAND_VALUE},
    {{"HOLDFOR", 7}, VERB_MAIL, parameter_hold_for, COMMAND_VALUE},
    {{"HOLDUNTIL", 9}, VERB_MAIL, parameter_hold_until, COMMAND_VALUE},
    {{"BY", 2}, VERB_MAIL, parameter_by, COMMAND_VALUE},
    {{"MT-PRIORITY", 11}, VERB_MAIL, parameter_mt_priority, COMMAND_VALUE},
    {{"SMTPUTF8", 8}, VERB_MAIL, take_smtputf8, COMMAND_VALUE},
    {{"REQUIRETLS", 10}, VERB_MAIL, take_requiretls, COMMAND_VALUE},
};

#define PARAMETERS (sizeof parameters / sizeof parameters[0])

enum command_result parameter_take(struct command *c, struct span word, unsigned *seen)
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
    return parameters[i].take(equals ? skip(word, key.n + 1) : span_make(absent, 0), c) ? COMMAND_OK : COMMAND_VALUE;
}
