#include "common/mapsource.h"

#define LINE_MAX_JOINED ((size_t)1 << 20)

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v';
}

static struct span trim(struct span s)
{
    while (s.n > 0 && blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static struct span from(struct span s, size_t at)
{
    return span_make(s.p + at, s.n - at);
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------ */

struct reader {
    struct span rest;
    unsigned line; /* of the next physical line */
};

static bool next_line(struct reader *r, struct span *line)
{
    if (r->rest.n == 0)
        return false;
    *line = span_until(&r->rest, '\n');
    r->line++;
    return true;
}

static bool no_content(struct span line)
{
    struct span s = trim(line);
    return s.n == 0 || s.p[0] == '#';
}

static bool continues(struct span line)
{
    return line.n > 0 && blank(line.p[0]);
}

/* Joins a line and its continuations into `out`. False at the end of the text. */
static bool next_logical(struct reader *r, struct buf *out, unsigned *number)
{
    struct span line;
    do {
        if (!next_line(r, &line))
            return false;
    } while (no_content(line));
    buf_clear(out);
    *number = r->line;
    if (continues(line))
        buf_add_char(out, ' '); /* seen by the caller: nothing is there that it could continue */
    buf_add_span(out, trim(line));
    for (struct reader ahead = *r; next_line(&ahead, &line) && (no_content(line) || continues(line)); *r = ahead) {
        if (no_content(line))
            continue;
        buf_add_char(out, ' ');
        buf_add_span(out, trim(line));
    }
    return true;
}

/* ---- entries ---------------------------------------------------------------------------------------------------------------------- */

static int wrong(struct error *error, unsigned line, const char *what)
{
    return error_set(error, "line %u: %s", line, what);
}

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' && s.p[i] != '\t')
            return true;
    return s.n > 0 && memchr(s.p, 0x7f, s.n) != NULL;
}

static void add_lower(struct buf *out, struct span s, bool unescape)
{
    for (size_t i = 0; i < s.n; i++) {
        if (unescape && s.p[i] == '\\' && i + 1 < s.n)
            i++;
        buf_add_char(out, s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i]);
    }
}

static int split_plain(struct span line, unsigned number, struct buf *key, struct span *value, struct error *error)
{
    size_t n = 0;
    while (n < line.n && !blank(line.p[n]))
        n++;
    *value = trim(from(line, n));
    if (value->n == 0)
        return wrong(error, number, "a key without a value; write: key value");
    add_lower(key, span_make(line.p, n), false);
    return 0;
}

/* The end of a quoted string that begins at s.p[0]; 0: it does not end. */
static size_t quoted_end(struct span s)
{
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            return i;
    }
    return 0;
}

static int split_alias(struct span line, unsigned number, struct buf *key, struct span *value, struct error *error)
{
    size_t end = 0;
    if (line.n > 0 && line.p[0] == '"') {
        end = quoted_end(line);
        if (end == 0)
            return wrong(error, number, "the quote before the name does not end");
        add_lower(key, span_make(line.p + 1, end - 1), true);
        end++;
    } else {
        while (end < line.n && line.p[end] != ':')
            end++;
        add_lower(key, trim(span_make(line.p, end)), false);
    }
    struct span rest = trim(from(line, end));
    if (rest.n == 0 || rest.p[0] != ':')
        return wrong(error, number, "no colon after the name; write: name: target, target");
    *value = trim(from(rest, 1));
    if (value->n == 0)
        return wrong(error, number, "an alias without a target; write: name: target, target");
    return 0;
}

static int check_alias(const struct mapsource_entry *entry, struct error *error)
{
    struct span list = entry->value, to;
    enum alias_kind kind;
    size_t count = 0;
    if (memchr(entry->key.p, '@', entry->key.n) != NULL)
        return wrong(error, entry->line, "an alias is a local name; addresses with a domain belong into a map of that domain's mailboxes");
    for (; alias_target_next(&list, &to, &kind); count++)
        if (kind == ALIAS_BROKEN)
            return wrong(error, entry->line, "a target that cannot be read; write names and addresses with commas between them");
    return count > 0 ? 0 : wrong(error, entry->line, "an alias without a target; write: name: target, target");
}

static int read_entry(struct span line, unsigned number, enum map_form form, struct buf *key, mapsource_fn *each, void *arg,
                      struct error *error)
{
    struct mapsource_entry entry = {.line = number};
    buf_clear(key);
    if (line.n > 0 && line.p[0] == ' ')
        return wrong(error, number, "begins with a blank, but there is no line before that it could continue");
    if (has_control(line))
        return wrong(error, number, "control characters");
    if ((form == MAP_ALIASES ? split_alias : split_plain)(line, number, key, &entry.value, error) < 0)
        return -1;
    entry.key = buf_span(key);
    if (key->failed || entry.key.n == 0 || entry.key.n > 1024)
        return wrong(error, number, entry.key.n == 0 ? "an empty name" : "the name is too long");
    if (form == MAP_ALIASES && check_alias(&entry, error) < 0)
        return -1;
    return each(&entry, arg, error);
}

int mapsource_read(struct span text, enum map_form form, mapsource_fn *each, void *arg, struct error *error)
{
    struct reader reader = {.rest = text};
    struct buf line = BUF_EMPTY(LINE_MAX_JOINED), key = BUF_EMPTY(LINE_MAX_JOINED);
    unsigned number = 0;
    int status = 0;
    while (status == 0 && next_logical(&reader, &line, &number))
        status = line.failed ? wrong(error, number, "with its continuation longer than 1 MiB")
                             : read_entry(buf_span(&line), number, form, &key, each, arg, error);
    buf_free(&line);
    buf_free(&key);
    return status;
}

/* ---- targets ---------------------------------------------------------------------------------------------------------------------- */

/* Where the item at the front ends: at a comma outside of quotes and brackets. False: a quote or bracket does not end. */
static bool item_end(struct span list, size_t *end)
{
    bool angle = false;
    size_t i = 0;
    for (; i < list.n; i++) {
        if (list.p[i] == '"') {
            size_t n = quoted_end(from(list, i));
            if (n == 0)
                return *end = list.n, false;
            i += n;
        } else if (list.p[i] == '\\' && i > 0) {
            i++;
        } else if (list.p[i] == '<' || list.p[i] == '>') {
            angle = list.p[i] == '<';
        } else if (list.p[i] == ',' && !angle) {
            break;
        }
    }
    *end = i < list.n ? i : list.n;
    return !angle;
}

static bool starts(struct span s, const char *with)
{
    size_t n = strlen(with);
    return s.n >= n && strncasecmp(s.p, with, n) == 0;
}

static enum alias_kind classify(struct span *s)
{
    if (s->n == 0)
        return ALIAS_BROKEN;
    if (s->p[0] == '|')
        return *s = trim(from(*s, 1)), ALIAS_COMMAND;
    if (s->p[0] == '/')
        return ALIAS_FILE;
    if (starts(*s, ":include:"))
        return *s = trim(from(*s, strlen(":include:"))), ALIAS_INCLUDE;
    if (s->p[0] == '\\')
        return *s = from(*s, 1), s->n > 0 ? ALIAS_LITERAL : ALIAS_BROKEN;
    return ALIAS_NAME;
}

/* "Words <name@domain>". */
static bool take_brackets(struct span *s)
{
    const char *open = s->n > 0 && s->p[s->n - 1] == '>' ? memrchr(s->p, '<', s->n) : NULL;
    if (open == NULL)
        return false;
    *s = trim(span_make(open + 1, (size_t)(s->p + s->n - 1 - open) - 1));
    return true;
}

/* A blank outside of quotes is no part of a name; sendmail's lists of names with blanks between them are not read, but told. */
static bool one_word(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"')
            i += quoted_end(from(s, i));
        else if (blank(s.p[i]))
            return false;
    }
    return true;
}

static enum alias_kind read_item(struct span *item)
{
    bool whole = item->n >= 2 && item->p[0] == '"' && quoted_end(*item) == item->n - 1;
    if (whole)
        *item = trim(span_make(item->p + 1, item->n - 2));
    bool bracketed = !whole && take_brackets(item);
    enum alias_kind kind = classify(item);
    if ((kind == ALIAS_NAME || kind == ALIAS_LITERAL) && !whole && !bracketed && !one_word(*item))
        return ALIAS_BROKEN;
    return kind;
}

bool alias_target_next(struct span *list, struct span *to, enum alias_kind *kind)
{
    struct span item;
    do {
        if (list->n == 0)
            return false;
        size_t end;
        bool whole = item_end(*list, &end);
        item = trim(span_make(list->p, end));
        *list = from(*list, end < list->n ? end + 1 : end);
        if (!whole) {
            *to = item;
            *kind = ALIAS_BROKEN;
            return true;
        }
    } while (item.n == 0);
    *kind = read_item(&item);
    *to = item;
    return true;
}
