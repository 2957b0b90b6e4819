/* From the text to settings, by libConfuse.
 *
 * Its options are made from the table, all as strings: libConfuse knows the grammar, and setting_assign() the values. Each value comes to
 * parse_assign() while cfg->line still is its line; nothing is read back out of libConfuse's own memory. Three things need a trick:
 *
 *   every error     libConfuse stops at the first failing callback, so ours never fail: they report and go on. A syntax error does stop it.
 *   unknown names   stop it as well. So each is made known, as an option that only reports itself, and the text is parsed again; the last
 *                   pass has no new ones, and its report counts. What kind of thing the unknown is (a value, a section, one with a title)
 *                   shows in the next pass.
 *   sections' lines A section has a hidden option whose default comes to parse_begin() at its opening line, with the title known. */
#include "conf/parse_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
            add_option(o, value_option(table[i].name, table[i].type == SETTING_LIST, parse_assign, true));
}

static void add_unknown_values(struct options *o, const char *section)
{
    for (size_t i = 0; i < parser->unknown_count; i++)
        if (strcmp(parser->unknown[i].section, section) == 0 && parser->unknown[i].kind == UNKNOWN_VALUE)
            add_option(o, value_option(parser->unknown[i].name, true, parse_assign_unknown, false));
}

static void end_options(struct options *o)
{
    add_option(o, (cfg_opt_t)CFG_END());
}

/* Every section may come more than once; plain ones add up. */
static void add_section(struct options *all, const char *section, bool titled, cfg_callback_t callback)
{
    struct options inner = {0};
    if (parse_is_section(section))
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
        add_section(all, settings_sections[kind].name, true, parse_begin);
    for (size_t i = 0; i < parser->unknown_count; i++)
        if (parser->unknown[i].kind != UNKNOWN_VALUE)
            add_section(all, parser->unknown[i].name, parser->unknown[i].kind == UNKNOWN_TITLED, parse_begin_unknown);
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
        cfg_set_error_function(cfg, parse_on_error);
        status = cfg_parse_fp(cfg, file) == CFG_SUCCESS ? 0 : -1;
        if (status == 0)
            clear_emptied(cfg);
        cfg_free(cfg);
    } else {
        parse_out_of_memory();
    }
    if (file)
        fclose(file);
    return status;
}

/* libConfuse looks at the environment: for the language of its messages, which parse_on_error() compares, and for variables in values. */
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
        parse_out_of_memory();
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

int parse_passes(struct buf *text)
{
    struct report *total = parser->report;
    struct report this_pass = {.path = total->path, .pieces = total->pieces, .piece_count = total->piece_count}, none = this_pass;
    int status;
    parser->report = &this_pass;
    while ((status = one_pass(text)) < 0 && parser->again)
        forget_pass(&none);
    parse_report_rest();
    buf_add_span(&total->errors, buf_span(&this_pass.errors));
    total->error_count += this_pass.error_count;
    parser->report = total;
    report_free(&this_pass);
    return status;
}
