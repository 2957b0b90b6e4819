/* What libConfuse can't take, in our words: names that are not in the table, and errors of the syntax. */
#include "conf/parse_internal.h"

#include "conf/nearest.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- unknown names ------------------------------------------------------------------------------------------------------------- */

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
    if (!parse_is_section(section)) /* one complaint, about the section, is enough */
        return;
    nearest_hint(section, u->name, &hint);
    if (*section)
        report_error(parser->report, line, "%s { } has no setting %s; %s", section, u->name, buf_text(&hint));
    else
        report_error(parser->report, line, "there is no setting %s; %s", u->name, buf_text(&hint));
    buf_free(&hint);
}

/* `name = {}` comes to no callback. */
void parse_report_rest(void)
{
    for (size_t i = 0; i < parser->unknown_count; i++)
        if (parser->unknown[i].kind == UNKNOWN_VALUE && !parser->unknown[i].reported)
            report_unknown(&parser->unknown[i], parser->unknown[i].line);
}

int parse_assign_unknown(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
    *(const char **)result = value;
    if (opt->nvalues == 1)
        report_unknown(find_unknown(cfg->name, opt->name), line_of(cfg));
    return 0;
}

int parse_begin_unknown(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
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
        parse_out_of_memory();
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

void parse_on_error(cfg_t *cfg, const char *format, va_list ap)
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
