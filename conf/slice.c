/* A slice: the part of the configuration that one program gets, as bytes.
 *
 *     u32 checksum of the table (a program of another version must not guess), u8 the program's letter;
 *     in the order of the table each setting that is the letter's;
 *     the titled sections (listeners, domains and so on), if they are the letter's: u32 count, and for each its title and settings.
 *
 * Numbers, flags and choices are u64; texts u32 length and octets; lists u32 count and texts. Little endian. Nothing follows.
 *
 * Only the master sends slices, yet the decoder takes nothing on trust: every value must be one that the parser could have made. */
#include "common/crc32c.h"
#include "conf/settings.h"

#include <inttypes.h>
#include <stdlib.h>

static uint32_t sum_entries(uint32_t sum, const struct setting *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct setting *s = &table[i];
        const char *texts[] = {s->section, s->name, s->programs, s->words ? s->words : ""};
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++)
            sum = crc32c(sum, texts[t], strlen(texts[t]) + 1);
        sum = crc32c(sum, &s->type, sizeof s->type);
    }
    return sum;
}

static uint32_t table_sum(void)
{
    uint32_t sum = sum_entries(0, settings_table, settings_count);
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        sum = sum_entries(sum, settings_sections[kind].table, settings_sections[kind].count);
    return sum;
}

static bool gets(const char *programs, char letter)
{
    return letter && strchr(programs, letter);
}

/* ---- encoding ------------------------------------------------------------------------------------------------------------------------ */

static void put_text(const char *text, struct buf *out)
{
    size_t n = strlen(text);
    buf_add_u32(out, (uint32_t)n);
    buf_add(out, text, n);
}

static void put_list(const struct strings *list, struct buf *out)
{
    buf_add_u32(out, (uint32_t)list->n);
    for (size_t i = 0; i < list->n; i++)
        put_text(list->v[i], out);
}

static void put_setting(const struct setting *s, const void *object, struct buf *out)
{
    const void *m = (const char *)object + s->offset;
    switch (s->type) {
    case SETTING_NUMBER:
    case SETTING_SIZE:
    case SETTING_TIME:
        buf_add_u64(out, *(const uint64_t *)m);
        break;
    case SETTING_FLAG:
        buf_add_u64(out, *(const bool *)m);
        break;
    case SETTING_CHOICE:
        buf_add_u64(out, (uint64_t) * (const int *)m);
        break;
    case SETTING_TEXT:
    case SETTING_PATH:
        put_text(*(char *const *)m, out);
        break;
    case SETTING_LIST:
        put_list(m, out);
        break;
    }
}

static void put_section(const struct settings *settings, enum settings_kind kind, struct buf *out)
{
    const struct settings_section *section = &settings_sections[kind];
    size_t n = settings_total(settings, kind);
    buf_add_u32(out, (uint32_t)n);
    for (size_t i = 0; i < n; i++) {
        const void *object = settings_nth(settings, kind, i);
        put_text(*(char *const *)object, out);
        for (size_t k = 0; k < section->count; k++)
            put_setting(&section->table[k], object, out);
    }
}

void settings_encode(const struct settings *settings, char letter, struct buf *out)
{
    buf_add_u32(out, table_sum());
    buf_add_char(out, letter);
    for (size_t i = 0; i < settings_count; i++)
        if (gets(settings_table[i].programs, letter))
            put_setting(&settings_table[i], settings, out);
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        if (gets(settings_sections[kind].programs, letter))
            put_section(settings, kind, out);
}

/* ---- decoding ------------------------------------------------------------------------------------------------------------------------ */

static bool take(struct span *in, size_t n, struct span *out)
{
    if (in->n < n)
        return false;
    *out = span_make(in->p, n);
    *in = span_make(in->p + n, in->n - n);
    return true;
}

static bool take_number(struct span *in, size_t octets, uint64_t *out)
{
    struct span bytes;
    if (!take(in, octets, &bytes))
        return false;
    *out = 0;
    for (size_t i = octets; i > 0; i--)
        *out = *out << 8 | (unsigned char)bytes.p[i - 1];
    return true;
}

static bool take_text(struct span *in, struct span *out)
{
    uint64_t n;
    return take_number(in, 4, &n) && take(in, n, out);
}

static int cut_short(const struct setting *s, struct error *e)
{
    return error_set(e, "configuration slice: ends inside %s; the master and this program must be of the same version", s->name);
}

static int wrong(const struct setting *s, uint64_t value, struct error *e)
{
    return error_set(e, "configuration slice: %s has the value %" PRIu64 ", which it cannot have", s->name, value);
}

static int take_value(const struct setting *s, void *m, struct span *in, struct error *e)
{
    uint64_t value;
    if (!take_number(in, 8, &value))
        return cut_short(s, e);
    if (s->type == SETTING_FLAG) {
        *(bool *)m = value == 1;
        return value > 1 ? wrong(s, value, e) : 0;
    }
    if (s->type == SETTING_CHOICE) {
        *(int *)m = value < setting_words(s->words) ? (int)value : 0;
        return value >= setting_words(s->words) ? wrong(s, value, e) : 0;
    }
    *(uint64_t *)m = value;
    if (s->type == SETTING_NUMBER && !*s->dflt && value == SETTING_NOT_GIVEN)
        return 0;
    return value < s->least || value > s->most ? wrong(s, value, e) : 0;
}

/* A text goes through the same door as one from the file, but an empty one, which may be a default. */
static int take_string(const struct setting *s, void *object, struct span *in, struct error *e)
{
    struct span text;
    if (!take_text(in, &text))
        return cut_short(s, e);
    if (text.n > 0)
        return setting_assign(s, object, text, e);
    char *empty = strdup("");
    if (!empty)
        return error_set(e, "configuration slice: out of memory");
    setting_clear(s, object);
    *(char **)((char *)object + s->offset) = empty;
    return 0;
}

static int take_list(const struct setting *s, void *object, struct span *in, struct error *e)
{
    uint64_t n;
    setting_clear(s, object);
    if (!take_number(in, 4, &n))
        return cut_short(s, e);
    for (uint64_t i = 0; i < n; i++) {
        struct span text;
        if (!take_text(in, &text))
            return cut_short(s, e);
        if (setting_assign(s, object, text, e) < 0)
            return -1;
    }
    return 0;
}

static int take_setting(const struct setting *s, void *object, struct span *in, struct error *e)
{
    if (s->type == SETTING_LIST)
        return take_list(s, object, in, e);
    if (s->type == SETTING_TEXT || s->type == SETTING_PATH)
        return take_string(s, object, in, e);
    return take_value(s, (char *)object + s->offset, in, e);
}

static bool is_title(struct span title)
{
    for (size_t i = 0; i < title.n; i++)
        if ((unsigned char)title.p[i] <= ' ' || title.p[i] == 0x7f)
            return false;
    return title.n > 0 && title.n <= 255;
}

static int take_section(struct settings *settings, enum settings_kind kind, struct span *in, struct error *e)
{
    const struct settings_section *section = &settings_sections[kind];
    uint64_t n;
    if (!take_number(in, 4, &n))
        return error_set(e, "configuration slice: ends before its %ss", section->name);
    for (uint64_t i = 0; i < n; i++) {
        struct span title;
        if (!take_text(in, &title) || !is_title(title))
            return error_set(e, "configuration slice: a %s without a proper title", section->name);
        void *object = settings_append(settings, kind, title);
        if (!object)
            return error_set(e, "configuration slice: out of memory");
        for (size_t k = 0; k < section->count; k++)
            if (take_setting(&section->table[k], object, in, e) < 0)
                return -1;
    }
    return 0;
}

static int take_all(struct settings *settings, struct span in, struct error *e)
{
    uint64_t sum, letter;
    if (!take_number(&in, 4, &sum) || sum != table_sum())
        return error_set(e, "configuration slice: made by another version; install all programs of one version and start again");
    if (!take_number(&in, 1, &letter) || !gets("MSAQRLDOTPC", (char)letter))
        return error_set(e, "configuration slice: for no program");
    for (size_t i = 0; i < settings_count; i++)
        if (gets(settings_table[i].programs, (char)letter) && take_setting(&settings_table[i], settings, &in, e) < 0)
            return -1;
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        if (gets(settings_sections[kind].programs, (char)letter) && take_section(settings, kind, &in, e) < 0)
            return -1;
    return in.n ? error_set(e, "configuration slice: %zu octets too many", in.n) : 0;
}

struct settings *settings_decode(struct span slice, struct error *e)
{
    struct settings *settings = settings_new();
    if (!settings) {
        error_set(e, "configuration slice: out of memory");
        return NULL;
    }
    if (take_all(settings, slice, e) < 0) {
        settings_free(settings);
        return NULL;
    }
    return settings;
}
