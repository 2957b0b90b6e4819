/* One value of the configuration: from text, to text, to its default. */
#include "conf/settings.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

/* ---- the member behind an entry of the table ----------------------------------------------------------------------------------------- */

static void *member(const struct setting *s, void *object)
{
    return (char *)object + s->offset;
}

static const void *member_const(const struct setting *s, const void *object)
{
    return (const char *)object + s->offset;
}

void setting_clear(const struct setting *s, void *object)
{
    void *m = member(s, object);
    switch (s->type) {
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        *(uint64_t *)m = 0;
        break;
    case SETTING_FLAG:
        *(bool *)m = false;
        break;
    case SETTING_CHOICE:
        *(int *)m = 0;
        break;
    case SETTING_TEXT:
    case SETTING_PATH:
        free(*(char **)m);
        *(char **)m = NULL;
        break;
    case SETTING_LIST: {
        struct strings *list = m;
        for (size_t i = 0; i < list->n; i++)
            free(list->v[i]);
        free(list->v);
        *list = (struct strings){0};
        break;
    }
    }
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------- */

struct unit {
    char letter;
    uint64_t factor;
};
/* Largest first: formatting takes the first that divides. */
static const struct unit SIZE_UNITS[] = {{'G', 1u << 30}, {'M', 1u << 20}, {'K', 1u << 10}, {0, 0}};
static const struct unit TIME_UNITS[] = {{'w', 604800}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}, {0, 0}};

static const struct unit *units(enum setting_type type)
{
    static const struct unit none[] = {{0, 0}};
    return type == SETTING_SIZE ? SIZE_UNITS : type == SETTING_TIME ? TIME_UNITS : none;
}

static bool digits(struct span *text, uint64_t *value)
{
    size_t n = 0;
    *value = 0;
    while (n < text->n && isdigit((unsigned char)text->p[n])) {
        if (__builtin_mul_overflow(*value, 10u, value) || __builtin_add_overflow(*value, (uint64_t)(text->p[n] - '0'), value))
            return false;
        n++;
    }
    *text = span_make(text->p + n, text->n - n);
    return n > 0;
}

static bool number(enum setting_type type, struct span text, uint64_t *value)
{
    if (!digits(&text, value))
        return false;
    if (text.n == 0)
        return true;
    for (const struct unit *u = units(type); u->letter; u++)
        if (text.n == 1 && tolower((unsigned char)text.p[0]) == tolower((unsigned char)u->letter))
            return !__builtin_mul_overflow(*value, u->factor, value);
    return false;
}

void setting_format_number(enum setting_type type, uint64_t value, struct buf *out)
{
    for (const struct unit *u = units(type); u->letter; u++)
        if (value % u->factor == 0 && (value > 0 || u->factor == 1)) {
            buf_printf(out, "%" PRIu64 "%c", value / u->factor, u->letter);
            return;
        }
    buf_printf(out, "%" PRIu64, value);
}

static int assign_number(const struct setting *s, uint64_t *m, struct span text, struct error *e)
{
    static const char *const form[] = {[SETTING_NUMBER] = "a number; write digits alone",
                                       [SETTING_SIZE] = "a size; write a number of octets, or one with K, M or G, as in 50M",
                                       [SETTING_TIME] = "a time; write a number with s, m, h, d or w, as in 5m (alone it is seconds)"};
    uint64_t value;
    if (!number(s->type, text, &value))
        return error_set(e, "%s is not %s", s->name, form[s->type]);
    if (value >= s->least && value <= s->most) {
        *m = value;
        return 0;
    }
    struct buf least = BUF_EMPTY(64), most = BUF_EMPTY(64);
    setting_format_number(s->type, s->least, &least);
    setting_format_number(s->type, s->most, &most);
    error_set(e, "%s is out of range; take %s to %s", s->name, buf_text(&least), buf_text(&most));
    buf_free(&least);
    buf_free(&most);
    return -1;
}

/* ---- words --------------------------------------------------------------------------------------------------------------------- */

size_t setting_words(const char *words)
{
    size_t n = 1;
    for (; *words; words++)
        n += *words == '|';
    return n;
}

struct span setting_word(const struct setting *s, uint64_t index)
{
    const char *word = s->words;
    while (index > 0 && (word = strchr(word, '|'))) {
        word++;
        index--;
    }
    return word ? span_make(word, strcspn(word, "|")) : (struct span){0};
}

static int assign_choice(const struct setting *s, int *m, struct span text, struct error *e)
{
    size_t n = setting_words(s->words);
    for (size_t i = 0; i < n; i++)
        if (span_equal(setting_word(s, i), text)) {
            *m = (int)i;
            return 0;
        }
    return error_set(e, "%s knows no such word; take one of %s", s->name, s->words);
}

static int assign_flag(const struct setting *s, bool *m, struct span text, struct error *e)
{
    static const char *const yes[] = {"yes", "true", "on"}, *const no[] = {"no", "false", "off"};
    for (size_t i = 0; i < 3; i++)
        if (span_equal(text, span_of(yes[i])) || span_equal(text, span_of(no[i]))) {
            *m = span_equal(text, span_of(yes[i]));
            return 0;
        }
    return error_set(e, "%s is neither yes nor no; write yes or no", s->name);
}

/* ---- texts --------------------------------------------------------------------------------------------------------------------- */

/* A control character has no business in any setting, and could part a log line or a frame's text. */
static int check_text(const struct setting *s, struct span text, struct error *e)
{
    uint64_t most = s->most ? s->most : SETTING_TEXT_MOST;
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] < ' ' || text.p[i] == 0x7f)
            return error_set(e, "%s has a control character in it; take it out (a quote may be missing)", s->name);
    if (text.n > most)
        return error_set(e, "%s is too long (%zu octets); %" PRIu64 " are the most", s->name, text.n, most);
    if (text.n < s->least)
        return error_set(e, "%s is too short (%zu octets); %" PRIu64 " are the least", s->name, text.n, s->least);
    return 0;
}

static int replace(char **m, struct span text, struct error *e)
{
    char *copy = strndup(text.p ? text.p : "", text.n);
    if (!copy)
        return error_set(e, "out of memory");
    free(*m);
    *m = copy;
    return 0;
}

static int assign_path(const struct setting *s, char **m, struct span text, struct error *e)
{
    if (text.n == 0 && *s->dflt)
        return error_set(e, "%s is empty; write an absolute path, or leave it out for %s", s->name, s->dflt);
    if (text.n > 0 && text.p[0] != '/')
        return error_set(e, "%s is not an absolute path; begin it with /", s->name);
    return check_text(s, text, e) < 0 ? -1 : replace(m, text, e);
}

static int append(const struct setting *s, struct strings *list, struct span text, struct error *e)
{
    if (text.n == 0)
        return error_set(e, "%s has an empty item; take it out, or write {} for an empty list", s->name);
    if (list->n >= SETTING_LIST_MOST)
        return error_set(e, "%s has too many items; %d are the most", s->name, SETTING_LIST_MOST);
    if (check_text(s, text, e) < 0)
        return -1;
    char **v = reallocarray(list->v, list->n + 1, sizeof *v);
    if (!v)
        return error_set(e, "out of memory");
    list->v = v;
    v[list->n] = NULL;
    if (replace(&v[list->n], text, e) < 0)
        return -1;
    list->n++;
    return 0;
}

/* ---- any type ---------------------------------------------------------------------------------------------------------------------- */

int setting_assign(const struct setting *s, void *object, struct span text, struct error *e)
{
    void *m = member(s, object);
    switch (s->type) {
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        return assign_number(s, m, text, e);
    case SETTING_FLAG:
        return assign_flag(s, m, text, e);
    case SETTING_CHOICE:
        return assign_choice(s, m, text, e);
    case SETTING_TEXT:
        return check_text(s, text, e) < 0 ? -1 : replace(m, text, e);
    case SETTING_PATH:
        return assign_path(s, m, text, e);
    case SETTING_LIST:
        return append(s, m, text, e);
    }
    return error_set(e, "%s has no type", s->name);
}

/* The default of a LIST is its items with blanks between. */
static int reset_list(const struct setting *s, void *object)
{
    struct error ignored;
    for (const char *p = s->dflt; *(p += strspn(p, " ")); p += strcspn(p, " "))
        if (append(s, member(s, object), span_make(p, strcspn(p, " ")), &ignored) < 0)
            return -1;
    return 0;
}

int setting_reset(const struct setting *s, void *object)
{
    struct error ignored;
    setting_clear(s, object);
    if (s->type == SETTING_LIST)
        return reset_list(s, object);
    if (s->type == SETTING_NUMBER && !*s->dflt) {
        *(uint64_t *)member(s, object) = SETTING_NOT_GIVEN;
        return 0;
    }
    if (s->type == SETTING_TEXT || s->type == SETTING_PATH) /* may be empty, where the file's may not */
        return replace(member(s, object), span_of(s->dflt), &ignored);
    return setting_assign(s, object, span_of(s->dflt), &ignored);
}

static bool list_is(const struct strings *list, const char *items)
{
    size_t n = 0;
    for (const char *p = items; *(p += strspn(p, " ")); p += strcspn(p, " "), n++)
        if (n >= list->n || !span_equal(span_of(list->v[n]), span_make(p, strcspn(p, " "))))
            return false;
    return n == list->n;
}

bool setting_is_given(const struct setting *s, const void *object)
{
    return s->type != SETTING_NUMBER || *s->dflt || *(const uint64_t *)member_const(s, object) != SETTING_NOT_GIVEN;
}

bool setting_is_default(const struct setting *s, const void *object)
{
    const void *m = member_const(s, object);
    uint64_t value;
    if (!setting_is_given(s, object))
        return true;
    switch (s->type) {
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        return number(s->type, span_of(s->dflt), &value) && *(const uint64_t *)m == value;
    case SETTING_FLAG:
        return *(const bool *)m == (strcmp(s->dflt, "yes") == 0);
    case SETTING_CHOICE:
        return span_equal(setting_word(s, (uint64_t) * (const int *)m), span_of(s->dflt));
    case SETTING_TEXT:
    case SETTING_PATH:
        return strcmp(*(char *const *)m, s->dflt) == 0;
    case SETTING_LIST:
        return list_is(m, s->dflt);
    }
    return false;
}

static void quote(const char *text, struct buf *out)
{
    buf_add_char(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, *text);
    }
    buf_add_char(out, '"');
}

static void format_list(const struct strings *list, struct buf *out)
{
    if (list->n == 0) {
        buf_add_text(out, "{}");
        return;
    }
    for (size_t i = 0; i < list->n; i++) {
        buf_add_text(out, i ? ", " : "{ ");
        quote(list->v[i], out);
    }
    buf_add_text(out, " }");
}

void setting_format(const struct setting *s, const void *object, struct buf *out)
{
    const void *m = member_const(s, object);
    switch (s->type) {
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        setting_format_number(s->type, *(const uint64_t *)m, out);
        break;
    case SETTING_FLAG:
        buf_add_text(out, *(const bool *)m ? "yes" : "no");
        break;
    case SETTING_CHOICE:
        buf_add_span(out, setting_word(s, (uint64_t) * (const int *)m));
        break;
    case SETTING_TEXT:
    case SETTING_PATH:
        quote(*(char *const *)m, out);
        break;
    case SETTING_LIST:
        format_list(m, out);
        break;
    }
}
