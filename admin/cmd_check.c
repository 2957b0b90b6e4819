/* postino check: everything about the configuration that can be known before the start. */
#include "admin/admin.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

/* In the form of the file, so that the output is a configuration itself. */
static void print_setting(const struct setting *s, const void *object, const char *indent)
{
    struct buf value = {0};
    if (!setting_is_given(s, object))
        return;
    setting_format(s, object, &value);
    printf("%s%s = %s%s\n", indent, s->name, buf_text(&value), setting_is_default(s, object) ? "    # default" : "");
    buf_free(&value);
}

static void print_settings(const struct settings *settings)
{
    const char *section = "";
    for (size_t i = 0; i < settings_count; i++) {
        const struct setting *s = &settings_table[i];
        if (strcmp(s->section, section) != 0)
            printf("%s%s {\n", *section ? "}\n" : "", s->section);
        section = s->section;
        print_setting(s, settings, *section ? "    " : "");
    }
    if (*section)
        puts("}");
}

static void print_sections(const struct settings *settings, enum settings_kind kind)
{
    const struct settings_section *section = &settings_sections[kind];
    for (size_t i = 0; i < settings_total(settings, kind); i++) {
        const void *object = settings_nth(settings, kind, i);
        printf("%s \"%s\" {\n", section->name, *(char *const *)object);
        for (size_t k = 0; k < section->count; k++)
            print_setting(&section->table[k], object, "    ");
        puts("}");
    }
}

static void print_count(FILE *out, size_t n, const char *what, const char *after)
{
    fprintf(out, "%zu %s%s%s", n, what, n == 1 ? "" : "s", after);
}

static int print_result(const struct admin *a, FILE *out)
{
    const struct settings *s = a->settings;
    if (!s) {
        fprintf(stderr, "%s: %zu error%s\n", a->path, a->report.error_count, a->report.error_count == 1 ? "" : "s");
        return EX_CONFIG;
    }
    fprintf(out, "%s: ", a->path);
    print_count(out, a->report.given, "setting", ", ");
    print_count(out, s->listener_count, "listener", ", ");
    print_count(out, s->domain_count, "domain", ", ");
    print_count(out, s->route_count, "route", ", ");
    if (s->site_count)
        print_count(out, s->site_count, "site", ", ");
    if (s->reply_count)
        fprintf(out, "%zu repl%s, ", s->reply_count, s->reply_count == 1 ? "y" : "ies");
    if (a->report.warning_count)
        print_count(out, a->report.warning_count, "warning", ", ");
    fputs("ok\n", out);
    return EX_OK;
}

int cmd_check(struct admin *a, int argc, char **argv)
{
    bool verbose = false;
    int option;
    while ((option = getopt(argc, argv, "v")) != -1) {
        if (option != 'v')
            return admin_fail(EX_USAGE, "check", "usage: postino check [-v]");
        verbose = true;
    }
    if (optind != argc)
        return admin_fail(EX_USAGE, "check", "usage: postino check [-v]; another file is named before it: postino -c FILE check");
    a->settings = parse_file(a->path, PARSE_HOST, &a->report);
    fputs(buf_text(&a->report.errors), stderr);
    for (const char *line = buf_text(&a->report.warnings); *line; line += strcspn(line, "\n") + 1)
        fprintf(stderr, "warning: %.*s\n", (int)strcspn(line, "\n"), line);
    if (verbose && a->settings) {
        print_settings(a->settings);
        for (enum settings_kind kind = 0; kind < SETTINGS_KINDS; kind++)
            print_sections(a->settings, kind);
    }
    return print_result(a, verbose ? stderr : stdout); /* what -v prints is a configuration */
}
