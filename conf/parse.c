/* From a file to settings: what it includes is read, libConfuse and the table take it apart, and what belongs together is checked. */
#include "conf/parse_internal.h"

#include "conf/alabels.h"
#include "conf/check.h"
#include "conf/include.h"

#include <stdlib.h>

struct parser *parser;

void parse_out_of_memory(void)
{
    report_error(parser->report, 0, "out of memory");
}

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
    if ((whole || (depth == PARSE_WHAT_IS_GOOD && text.len)) && !text.failed && parse_passes(&text) == 0)
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
