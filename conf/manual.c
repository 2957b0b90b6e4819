/* Prints postino.conf(5) from conf/postino.conf.5.in (stdin) and the table of settings. Used by make only.
 *
 * A line @settings SECTION becomes the list of that section's settings, @include FILE an example; all others are mdoc as they are. A
 * section of the table that the page forgets is an error. */
#include "conf/settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define WIDTH 76 /* mandoc -Tlint wants less than 80 */

/* ---- text ---------------------------------------------------------------------------------------------------------------------- */

static void put_word(const char *word, size_t n, size_t *column)
{
    if (*column > 0) {
        putchar(' ');
        *column += 1;
    } else if (*word == '.' || *word == '\'') {
        fputs("\\&", stdout);
    }
    for (size_t i = 0; i < n; i++)
        if (word[i] == '\\')
            fputs("\\e", stdout);
        else
            putchar(word[i]);
    *column += n;
}

/* Each sentence begins a line, as mdoc wants it; longer ones are wrapped. */
static void put_text(const char *text)
{
    size_t column = 0;
    while (*(text += strspn(text, " "))) {
        size_t n = strcspn(text, " ");
        if (column > 0 && column + 1 + n > WIDTH) {
            putchar('\n');
            column = 0;
        }
        put_word(text, n, &column);
        if (strchr(".?!", text[n - 1]) && n > 2) {
            putchar('\n');
            column = 0;
        }
        text += n;
    }
    if (column > 0)
        putchar('\n');
}

/* ---- settings ------------------------------------------------------------------------------------------------------------------ */

static const char *type_name(const struct setting *s)
{
    static const char *const names[] = {"number", "size", "time", "flag", "text", "path", "list", ""};
    return names[s->type];
}

static void put_form(const struct setting *s)
{
    if (s->type != SETTING_CHOICE) {
        printf(".It Ic %s No = Ar %s\n", s->name, type_name(s));
        return;
    }
    printf(".It Ic %s No =", s->name);
    for (size_t i = 0; i < setting_words(s->words); i++)
        printf("%s Cm %.*s", i ? " |" : "", SPAN_ARG(setting_word(s, i)));
    putchar('\n');
}

static bool has_limits(const struct setting *s)
{
    return s->type == SETTING_NUMBER || s->type == SETTING_SIZE || s->type == SETTING_TIME;
}

static void put_default(const struct setting *s, const void *object)
{
    struct buf line = {0};
    buf_add_text(&line, "Default: ");
    if (*s->dflt)
        setting_format(s, object, &line);
    else
        buf_add_text(&line, has_limits(s)                         ? "what holds elsewhere"
                            : s->type == SETTING_TEXT && s->least ? "none, it must be given"
                                                                  : "empty");
    if (has_limits(s)) {
        buf_add_text(&line, "; from ");
        setting_format_number(s->type, s->least, &line);
        buf_add_text(&line, " to ");
        setting_format_number(s->type, s->most, &line);
    }
    buf_add_char(&line, '.');
    put_text(buf_text(&line));
    buf_free(&line);
}

static size_t put_table(const struct setting *table, size_t count, const char *section, const void *object)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].section, section) != 0)
            continue;
        if (n++ == 0)
            puts(".Bl -tag -width Ds");
        put_form(&table[i]);
        put_text(table[i].help);
        put_default(&table[i], object);
    }
    return n;
}

/* How many settings were printed. */
static size_t put_settings(struct settings *defaults, const char *section)
{
    size_t n = put_table(settings_table, settings_count, section, defaults);
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++) {
        const struct settings_section *s = &settings_sections[kind];
        void *object = settings_append(defaults, kind, SPAN_LITERAL("x"));
        if (object)
            n += put_table(s->table, s->count, section, object);
    }
    if (n > 0)
        puts(".El");
    return n;
}

/* ---- the page ------------------------------------------------------------------------------------------------------------------ */

static int put_file(const char *path)
{
    char line[512];
    FILE *f = fopen(path, "r");
    if (!f) {
        perror(path);
        return -1;
    }
    puts(".Bd -literal -compact");
    while (fgets(line, sizeof line, f)) {
        if (*line == '.' || *line == '\'')
            fputs("\\&", stdout);
        fputs(line, stdout);
    }
    puts(".Ed");
    fclose(f);
    return 0;
}

static size_t all_settings(void)
{
    size_t n = settings_count;
    for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
        n += settings_sections[kind].count;
    return n;
}

static int put_page(struct settings *defaults)
{
    static const char settings[] = "@settings", include[] = "@include ";
    char line[512];
    size_t printed = 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, settings, strlen(settings)) == 0)
            printed += put_settings(defaults, line + strlen(settings) + strspn(line + strlen(settings), " "));
        else if (strncmp(line, include, strlen(include)) != 0)
            puts(line);
        else if (put_file(line + strlen(include)) < 0)
            return 1;
    }
    if (printed == all_settings())
        return 0;
    fprintf(stderr, "conf/postino.conf.5.in: prints %zu of %zu settings; add a line @settings SECTION\n", printed, all_settings());
    return 1;
}

int main(void)
{
    struct settings *defaults = settings_new();
    if (!defaults)
        return 1;
    int status = put_page(defaults);
    settings_free(defaults);
    return fflush(stdout) == 0 ? status : 1;
}
