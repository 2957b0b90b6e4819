/* What libConfuse has read goes into the settings: values by the table's names, and titled sections as they begin. */
#include "conf/parse_internal.h"

#include "common/address.h"
#include "conf/alabels.h"
#include "conf/check.h"

#include <ctype.h>

static const struct setting *find(enum settings_kind kind, const char *section, const char *name)
{
    const struct setting *table = kind < SETTINGS_KINDS ? settings_sections[kind].table : settings_table;
    size_t count = kind < SETTINGS_KINDS ? settings_sections[kind].count : settings_count;
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].section, section) == 0 && strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

bool parse_is_section(const char *section)
{
    if (!*section || kind_of(section) < SETTINGS_KINDS)
        return true;
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].section, section) == 0)
            return true;
    return false;
}

/* ---- values -------------------------------------------------------------------------------------------------------------------- */

/* A list comes item by item. Its option holds one hidden item as default, so the first item of `= { }` is number 1, and that of `+= { }` is
 * not. */
int parse_assign(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    *(const char **)result = value;
    if (strcmp(value, HIDDEN) == 0)
        return 0;
    const char *section = section_of(cfg);
    enum settings_kind kind = kind_of(section);
    const struct setting *s = find(kind, section, opt->name);
    size_t index = kind < SETTINGS_KINDS ? settings_total(parser->settings, kind) - 1 : 0;
    void *object = kind < SETTINGS_KINDS ? settings_nth(parser->settings, kind, index) : parser->settings;
    struct place place = {.kind = kind, .index = index, .name = s->name, .section = s->section, .line = line_of(cfg)};

    bool replaces = s->type != SETTING_LIST || opt->nvalues == 1;
    if (replaces && places_given(&parser->places, &place))
        report_error(parser->report, place.line, "%s is set a second time; take one of them out", s->name);
    if (replaces && s->type == SETTING_LIST)
        setting_clear(s, object);
    struct error e;
    if (setting_assign(s, object, span_of(value), &e) < 0) {
        report_error(parser->report, place.line, "%s", e.text);
        place.refused = true;
    }
    if (!places_add(&parser->places, place))
        parse_out_of_memory();
    return 0;
}

/* ---- sections ------------------------------------------------------------------------------------------------------------------ */

/* Names that are the administrator's own; the others are domains and hosts. */
static bool keeps_case(enum settings_kind kind)
{
    return kind == SETTINGS_LISTENERS || kind == SETTINGS_LOGINS || kind == SETTINGS_REPLIES || kind == SETTINGS_SOURCES;
}

static bool title_fits(enum settings_kind kind, struct span title)
{
    if (kind == SETTINGS_ROUTES && span_equal(title, SPAN_LITERAL("*")))
        return true;
    if (kind == SETTINGS_ROUTES && title.n > 1 && title.p[0] == '.')
        title = span_make(title.p + 1, title.n - 1);
    if (kind == SETTINGS_SITES)
        return check_is_site(title);
    if (!keeps_case(kind))
        return address_is_domain(title, false);
    for (size_t i = 0; i < title.n; i++)
        if (!isalnum((unsigned char)title.p[i]) && title.p[i] != '-' && title.p[i] != '_' && title.p[i] != '.')
            return false;
    return title.n > 0 && title.n <= 64;
}

static void report_twice(enum settings_kind kind, const char *title, unsigned line, unsigned first)
{
    struct buf where = BUF_EMPTY(512);
    report_add_line(parser->report, first, line, &where);
    report_error(parser->report, line, "%s \"%s\" is there a second time (first in %s); make one of the two", settings_sections[kind].name,
                 title, buf_text(&where));
    buf_free(&where);
}

static void check_title(enum settings_kind kind, const char *title, unsigned line)
{
    static const char word[] = "letters, digits, - _ and .";
    static const char *const forms[SETTINGS_KINDS] = {
        [SETTINGS_LISTENERS] = word,
        [SETTINGS_DOMAINS] = "a domain name",
        [SETTINGS_ROUTES] = "a domain name, one with a dot in front, or *",
        [SETTINGS_SITES] = "the name of an MX host, a domain above it, or an address",
        [SETTINGS_LOGINS] = word,
        [SETTINGS_REPLIES] = word,
        [SETTINGS_SOURCES] = word,
    };
    if (!title_fits(kind, span_of(title)))
        report_error(parser->report, line, "%s \"%s\": the title is not one; write %s", settings_sections[kind].name, title, forms[kind]);
    for (size_t i = 0; i < settings_total(parser->settings, kind); i++)
        if (strcmp(*(char *const *)settings_nth(parser->settings, kind, i), title) == 0)
            report_twice(kind, title, line, places_line_in(&parser->places, kind, i, NULL));
}

int parse_begin(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    (void)opt;
    *(const char **)result = value;
    enum settings_kind kind = kind_of(cfg->name);
    struct buf title = BUF_EMPTY(SETTING_TEXT_MOST), written = BUF_EMPTY(SETTING_TEXT_MOST);
    for (const char *p = cfg->title ? cfg->title : ""; *p; p++)
        buf_add_char(&written, keeps_case(kind) ? *p : (char)tolower((unsigned char)*p));
    alabels_add(buf_span(&written), &title);
    buf_free(&written);
    check_title(kind, buf_text(&title), line_of(cfg));
    struct place place = {
        .kind = kind, .index = settings_total(parser->settings, kind), .section = settings_sections[kind].name, .line = line_of(cfg)};
    int status = settings_append(parser->settings, kind, buf_span(&title)) && places_add(&parser->places, place) ? 0 : -1;
    if (status < 0)
        parse_out_of_memory();
    buf_free(&title);
    return status;
}
