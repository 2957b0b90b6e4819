/* parse_internal: what the whole (parse.c), the passes of libConfuse (parse_confuse.c), what it has read (parse_assign.c) and what it can't take
 * (parse_error.c) share. Nobody else includes it. */
#ifndef POSTINO_PARSE_INTERNAL_H
#define POSTINO_PARSE_INTERNAL_H

#include "conf/parse.h"
#include "conf/places.h"
#include "conf/report.h"

#include <confuse.h>

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
extern struct parser *parser;

static inline unsigned line_of(const cfg_t *cfg)
{
    return cfg->line > 0 ? (unsigned)cfg->line : 0;
}

/* "": the top. */
static inline const char *section_of(const cfg_t *cfg)
{
    return strcmp(cfg->name, "root") == 0 ? "" : cfg->name;
}

/* SETTINGS_KINDS: one without a title, or none. */
static inline enum settings_kind kind_of(const char *section)
{
    enum settings_kind kind = 0;
    while (kind < SETTINGS_KINDS && strcmp(settings_sections[kind].name, section) != 0)
        kind++;
    return kind;
}

/* parse.c */
void parse_out_of_memory(void);

/* parse_confuse.c */
/* 0: the text was read to its end; -1: a syntax error. All that it has is reported, once. */
int parse_passes(struct buf *text);

/* parse_assign.c: callbacks */
int parse_assign(cfg_t *, cfg_opt_t *, const char *value, void *result);
int parse_begin(cfg_t *, cfg_opt_t *, const char *value, void *result); /* of a titled section */
bool parse_is_section(const char *section);                             /* the table has it */

/* parse_error.c: callbacks */
int parse_assign_unknown(cfg_t *, cfg_opt_t *, const char *value, void *result);
int parse_begin_unknown(cfg_t *, cfg_opt_t *, const char *value, void *result);
void parse_on_error(cfg_t *, const char *format, va_list);
void parse_report_rest(void); /* unknown names that came to no callback */

#endif
