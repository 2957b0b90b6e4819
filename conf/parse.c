/* From the text to settings, by libConfuse.
 *
 * Its options are made from the table, all as strings: libConfuse knows the grammar, and setting_assign() the values. Each value comes to
 * assign() while cfg->line still is its line; nothing is read back out of libConfuse's own memory. Three things need a trick:
 *
 *   every error     libConfuse stops at the first failing callback, so ours never fail: they report and go on. A syntax error does stop it.
 *   unknown names   stop it as well. So each is made known, as an option that only reports itself, and the text is parsed again; the last
 *                   pass has no new ones, and its report counts. What kind of thing the unknown is (a value, a section, one with a title)
 *                   shows in the next pass.
 *   sections' lines A section has a hidden option whose default comes to begin() at its opening line, with the title known. */
#include "conf/parse.h"

#include "common/address.h"
#include "conf/alabels.h"
#include "conf/check.h"
#include "conf/include.h"
#include "conf/nearest.h"

#include <confuse.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HIDDEN       "\001" /* no file can have it: source.c refuses control characters */
#define UNKNOWN_MOST 50

enum unknown_kind { UNKNOWN_VALUE, UNKNOWN_SECTION, UNKNOWN_TITLED };
struct unknown {
    char *section; /* "root" at the top, as libConfuse calls it */
    char *name;
    enum unknown_kind kind;
    unsigned line;
    bool reported;
};

struct parser {
    struct report *report; /* of this pass */
    struct settings *settings;
    struct places places;
    struct unknown unknown[UNKNOWN_MOST];
    size_t unknown_count;
    bool again; /* the pass met a new unknown name, and does not count */
};

/* libConfuse hands its callbacks nothing of ours. */
static struct parser *parser;

/* ---- the table, by libConfuse's names ------------------------------------------------------------------------------------------ */

static const char *section_of(const cfg_t *cfg)
{
    return strcmp(cfg->name, "root") == 0 ? "" : cfg->name;
}

static enum settings_kind kind_of(const char *section)
{
    enum settings_kind kind = 0;
    while (kind < SETTINGS_KINDS && strcmp(settings_sections[kind].name, section) != 0)
        kind++;
    return kind;
}

static const struct setting *find(enum settings_kind kind, const char *section, const char *name)
{
    const struct setting *table = kind < SETTINGS_KINDS ? settings_sections[kind].table : settings_table;
    size_t count = kind < SETTINGS_KINDS ? settings_sections[kind].count : settings_count;
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].section, section) == 0 && strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static bool is_section(const char *section)
{
    if (!*section || kind_of(section) < SETTINGS_KINDS)
        return true;
    for (size_t i = 0; i < settings_count; i++)
        if (strcmp(settings_table[i].section, section) == 0)
            return true;
    return false;
}

/* ---- values -------------------------------------------------------------------------------------------------------------------- */

static void out_of_memory(void)
{
    report_error(parser->report, 0, "out of memory");
}

static unsigned line_of(const cfg_t *cfg)
{
    return cfg->line > 0 ? (unsigned)cfg->line : 0;
}

/* A list comes item by item. Its option holds one hidden item as default, so the first item of `= { }` is number 1, and that of `+= { }` is
 * not. */
static int assign(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
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
        out_of_memory();
    return 0;
}

static struct unknown *find_unknown(const char *section, const char *name)
{
    for (size_t i = 0; i < parser->unknown_count; i++)
        if (strcmp(parser->unknown[i].section, section) == 0 && strcmp(parser->unknown[i].name, name) == 0)
            return &parser->unknown[i];
    return NULL;
}

static void report_unknown(struct unknown *u, unsigned line)
{
    struct buf hint = BUF_EMPTY(512);
    const char *section = strcmp(u->section, "root") == 0 ? "" : u->section;
    u->reported = true;
    if (!is_section(section)) /* one complaint, about the section, is enough */
        return;
    nearest_hint(section, u->name, &hint);
    if (*section)
        report_error(parser->report, line, "%s { } has no setting %s; %s", section, u->name, buf_text(&hint));
    else
        report_error(parser->report, line, "there is no setting %s; %s", u->name, buf_text(&hint));
    buf_free(&hint);
}

/* `name = {}` comes to no callback. */
static void report_rest(void)
{
    for (size_t i = 0; i < parser->unknown_count; i++)
        if (parser->unknown[i].kind == UNKNOWN_VALUE && !parser->unknown[i].reported)
            report_unknown(&parser->unknown[i], parser->unknown[i].line);
}

static int assign_unknown(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    *(const char **)result = value;
    if (opt->nvalues == 1)
        report_unknown(find_unknown(cfg->name, opt->name), line_of(cfg));
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

static int begin(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
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
        out_of_memory();
    buf_free(&title);
    return status;
}

static int begin_unknown(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    struct buf hint = BUF_EMPTY(512);
    (void)opt;
    *(const char **)result = value;
    nearest_hint("", cfg->name, &hint);
    report_error(parser->report, line_of(cfg), "there is no section %s { }; %s", cfg->name, buf_text(&hint));
    buf_free(&hint);
    return 0;
}

/* ---- errors of libConfuse ------------------------------------------------------------------------------------------------------ */

static void note_unknown(const cfg_t *cfg, const char *name)
{
    if (parser->unknown_count == UNKNOWN_MOST) {
        report_error(parser->report, line_of(cfg), "more than %d unknown settings; correct those first, and check again", UNKNOWN_MOST);
        return;
    }
    struct unknown u = {.section = strdup(cfg->name), .name = strdup(name), .line = line_of(cfg)};
    if (!u.section || !u.name) {
        free(u.section);
        free(u.name);
        out_of_memory();
        return;
    }
    parser->unknown[parser->unknown_count++] = u;
    parser->again = true;
}

/* The guess about an unknown was wrong: try the next. At the top only, as sections don't nest. */
static bool other_kind(const cfg_t *cfg, const char *name, enum unknown_kind from)
{
    struct unknown *u = find_unknown(cfg->name, name);
    if (!u || u->kind != from || *section_of(cfg))
        return false;
    u->kind++;
    return parser->again = true;
}

static const char NO_EQUAL[] = "missing equal sign after option '%s'";
static const char NO_BRACE[] = "missing opening brace for section '%s'";
static const struct syntax {
    const char *format; /* libConfuse's */
    const char *cause;  /* takes the same arguments */
} syntaxes[] = {
    {NO_EQUAL, "%s has no = after it; write name = value"},
    {NO_BRACE, "%1$s is a section; write %1$s { ... }, with a title in quotes before the { where it has one, and without ="},
    {"missing title for section '%s'", "%1$s needs a title; write %1$s \"name\" { ... }"},
    {"attempt to append to non-list option '%s'", "%s has one value, and += is for lists; write ="},
    {"no sub-section title/index for '%s'", "there is no setting %s; write name = value"},
    {"unexpected token '%s'", "%.200s is not expected here; look for a missing value, quote, comma or brace, here or in the line before"},
    {"premature end of file", "the file ends inside of a setting; complete it"},
};

static const struct syntax *find_syntax(const char *format)
{
    for (size_t i = 0; i < sizeof syntaxes / sizeof syntaxes[0]; i++)
        if (strcmp(syntaxes[i].format, format) == 0)
            return &syntaxes[i];
    return NULL;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* both formats are from a table, and take one string */
static void syntax_error(const cfg_t *cfg, const char *format, va_list ap)
{
    char text[512];
    const struct syntax *s = find_syntax(format);
    if (vsnprintf(text, sizeof text, s ? s->cause : format, ap) < 0)
        return;
    report_error(parser->report, line_of(cfg), "%s%s", text, s ? "" : "; see the grammar in postino.conf(5)");
}
#pragma GCC diagnostic pop

/* A section inside a section, most often because the outer one was not closed. */
static bool nested(const cfg_t *cfg, const char *name)
{
    struct unknown *u = *section_of(cfg) ? find_unknown(cfg->name, name) : NULL;
    if (!u)
        return false;
    u->reported = true;
    report_error(parser->report, line_of(cfg),
                 "%s in %s { }: neither a setting with = nor, as sections don't nest, a section; a } may be missing above", name,
                 cfg->name);
    return true;
}

static void on_error(cfg_t *cfg, const char *format, va_list ap)
{
    va_list copy;
    va_copy(copy, ap);
    const char *name = strstr(format, "'%s'") ? va_arg(copy, const char *) : "";
    va_end(copy);
    bool no_equal = strcmp(format, NO_EQUAL) == 0, no_brace = strcmp(format, NO_BRACE) == 0;
    if (strcmp(format, "no such option '%s'") == 0)
        note_unknown(cfg, name);
    else if ((no_equal && (nested(cfg, name) || other_kind(cfg, name, UNKNOWN_VALUE))) ||
             (no_brace && other_kind(cfg, name, UNKNOWN_SECTION)))
        return;
    else
        syntax_error(cfg, format, ap);
}

/* ---- options from the table ---------------------------------------------------------------------------------------------------- */

struct options {
    cfg_opt_t *v;
    size_t n;
    bool failed;
};

static void add_option(struct options *o, cfg_opt_t option)
{
    cfg_opt_t *v = reallocarray(o->v, o->n + 1, sizeof *v);
    if (!v) {
        o->failed = true;
        return;
    }
    o->v = v;
    v[o->n++] = option;
}

static cfg_opt_t value_option(const char *name, bool list, cfg_callback_t callback, bool with_default)
{
    cfg_opt_t option = {.name = name, .type = CFGT_STR, .parsecb = callback, .flags = list ? CFGF_LIST : CFGF_NODEFAULT};
    static char hidden_item[] = "{'" HIDDEN "'}";
    if (list && with_default)
        option.def.parsed = hidden_item;
    return option;
}

static cfg_opt_t begin_option(cfg_callback_t callback)
{
    static char hidden[] = "'" HIDDEN "'";
    return (cfg_opt_t){.name = HIDDEN, .type = CFGT_STR, .parsecb = callback, .def.parsed = hidden};
}

static void add_settings(struct options *o, const char *section)
{
    enum settings_kind kind = kind_of(section);
    const struct setting *table = kind < SETTINGS_KINDS ? settings_sections[kind].table : settings_table;
    size_t count = kind < SETTINGS_KINDS ? settings_sections[kind].count : settings_count;
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].section, section) == 0)
            add_option(o, value_option(table[i].name, table[i].type == SETTING_LIST, assign, true));
}

static void add_unknown_values(struct options *o, const char *section)
{
    for (size_t i = 0; i < parser->unknown_count; i++)
        if (strcmp(parser->unknown[i].section, section) == 0 && parser->unknown[i].kind == UNKNOWN_VALUE)
            add_option(o, value_option(parser->unknown[i].name, true, assign_unknown, false));
}

static void end_options(struct options *o)
{
    add_option(o, (cfg_opt_t)CFG_END());
}

/* Every section may come more than once; plain ones add up. */
static void add_section(struct options *all, const char *section, bool titled, cfg_callback_t callback)
{
    struct options inner = {0};
    if (is_section(section))
        add_settings(&inner, section);
    add_unknown_values(&inner, section);
    if (callback)
        add_option(&inner, begin_option(callback));
    end_options(&inner);
    all->failed |= inner.failed;
    cfg_flag_t flags = CFGF_MULTI | (titled ? CFGF_TITLE : 0);
    add_option(all, (cfg_opt_t){.name = section, .type = CFGT_SEC, .flags = flags, .subopts = inner.v});
}

static void build_options(struct options *all)
{
    add_settings(all, "");
    add_unknown_values(all, "root");
    for (size_t i = 0; i < settings_count; i++) {
        const char *section = settings_table[i].section;
        if (*section && (i == 0 || strcmp(section, settings_table[i - 1].section) != 0))
            add_section(all, section, false, NULL);
    }
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        add_section(all, settings_sections[kind].name, true, begin);
    for (size_t i = 0; i < parser->unknown_count; i++)
        if (parser->unknown[i].kind != UNKNOWN_VALUE)
            add_section(all, parser->unknown[i].name, parser->unknown[i].kind == UNKNOWN_TITLED, begin_unknown);
    end_options(all);
}

static void free_options(struct options *o)
{
    for (size_t i = 0; i < o->n; i++)
        free(o->v[i].subopts);
    free(o->v);
}

/* ---- a pass -------------------------------------------------------------------------------------------------------------------- */

/* `name = {}` comes to no callback, but the hidden item is gone. Lists in titled sections have empty defaults, so they need no such look.
 */
static void clear_emptied(cfg_t *cfg)
{
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *s = &settings_table[i];
        if (s->type != SETTING_LIST)
            continue;
        if (!*s->section && cfg_size(cfg, s->name) == 0)
            setting_clear(s, parser->settings);
        for (unsigned k = 0; *s->section && k < cfg_size(cfg, s->section); k++)
            if (cfg_size(cfg_getnsec(cfg, s->section, k), s->name) == 0)
                setting_clear(s, parser->settings);
    }
}

static int run_libconfuse(const struct options *options, struct buf *text)
{
    FILE *file = fmemopen(text->data, text->len, "r");
    cfg_t *cfg = file ? cfg_init(options->v, CFGF_NONE) : NULL;
    int status = -1;
    if (cfg) {
        cfg_set_error_function(cfg, on_error);
        status = cfg_parse_fp(cfg, file) == CFG_SUCCESS ? 0 : -1;
        if (status == 0)
            clear_emptied(cfg);
        cfg_free(cfg);
    } else {
        out_of_memory();
    }
    if (file)
        fclose(file);
    return status;
}

/* libConfuse looks at the environment: for the language of its messages, which on_error() compares, and for variables in values. */
static int run_without_environment(const struct options *options, struct buf *text)
{
    static char *none[] = {NULL};
    char **saved = environ;
    environ = none;
    int status = run_libconfuse(options, text);
    environ = saved;
    return status;
}

/* 0: the text was read to its end; -1: a syntax error, or another pass is wanted. */
static int one_pass(struct buf *text)
{
    struct options options = {0};
    parser->again = false;
    parser->settings = settings_new();
    build_options(&options);
    int status = -1;
    if (parser->settings && !options.failed)
        status = run_without_environment(&options, text);
    else
        out_of_memory();
    free_options(&options);
    return status;
}

static void forget_pass(struct report *before)
{
    settings_free(parser->settings);
    parser->settings = NULL;
    places_free(&parser->places);
    report_free(parser->report);
    *parser->report = *before;
}

static int all_passes(struct buf *text)
{
    struct report *total = parser->report;
    struct report this_pass = {.path = total->path, .pieces = total->pieces, .piece_count = total->piece_count}, none = this_pass;
    int status;
    parser->report = &this_pass;
    while ((status = one_pass(text)) < 0 && parser->again)
        forget_pass(&none);
    report_rest();
    buf_add_span(&total->errors, buf_span(&this_pass.errors));
    total->error_count += this_pass.error_count;
    parser->report = total;
    report_free(&this_pass);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------- */

static void check_all(enum parse_depth depth)
{
    const struct check check = {parser->settings, &parser->places, parser->report};
    alabels_list(&parser->settings->relay_to);
    check_complete(&check);
    check_settings(&check);
    check_sections(&check);
    if (depth == PARSE_HOST && parser->report->error_count == 0)
        check_host(&check);
}

static void count_given(const struct places *places, struct report *r)
{
    for (size_t i = 0; i < places->n; i++) {
        const struct place *p = &places->v[i], *before = i ? p - 1 : p;
        r->given += p->name && (i == 0 || p->name != before->name || p->index != before->index); /* a list counts once */
    }
}

/* "run =" outside of a comment (behind a quote, a # may be of a string). Said too often, it costs a command that could have guessed; it is for a file
 * with errors alone. */
static bool speaks_of_run(struct span text)
{
    bool comment = false, quote = false;
    for (size_t i = 0; i + 3 < text.n; i++) {
        char c = text.p[i];
        quote = c != '\n' && (quote || c == '"');
        comment = c != '\n' && (comment || (c == '#' && !quote));
        size_t blanks = i + 3;
        if (comment || memcmp(text.p + i, "run", 3) != 0)
            continue;
        while (blanks < text.n && (text.p[blanks] == ' ' || text.p[blanks] == '\t'))
            blanks++;
        if (blanks < text.n && text.p[blanks] == '=')
            return true;
    }
    return false;
}

/* `whole`: with all that it includes. */
static void doubt_run(const struct places *places, struct span text, bool whole, struct report *r)
{
    bool read = places_line(places, "directory", "run") && !places_refused(places, SETTINGS_KINDS, 0, "directory", "run");
    r->run_in_doubt = r->error_count > 0 && !read && (!whole || speaks_of_run(text));
}

struct settings *parse_file(const char *path, enum parse_depth depth, struct report *report)
{
    struct parser this = {.report = report};
    struct buf text = {0};
    report->path = path;
    parser = &this;
    bool whole = include_read(path, &text, report) == 0;
    if ((whole || (depth == PARSE_WHAT_IS_GOOD && text.len)) && !text.failed && all_passes(&text) == 0)
        check_all(depth);
    doubt_run(&this.places, buf_span(&text), whole, report);
    count_given(&this.places, report);
    report_unmap(report);
    report_sort(report);
    for (size_t i = 0; i < this.unknown_count; i++) {
        free(this.unknown[i].section);
        free(this.unknown[i].name);
    }
    places_free(&this.places);
    buf_free(&text);
    parser = NULL;
    if (report->error_count == 0 || depth == PARSE_WHAT_IS_GOOD)
        return this.settings;
    settings_free(this.settings);
    return NULL;
}
