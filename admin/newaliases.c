/* newaliases: builds the alias maps that the configuration names. */
#include "common/map.h"
#include "conf/parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

static int build(const char *spec)
{
    struct buf warnings = BUF_EMPTY(0);
    struct error error;
    long count = map_build(spec, MAP_ALIASES, &warnings, &error);
    for (const char *line = buf_text(&warnings); *line; line += strcspn(line, "\n") + 1)
        (void)fprintf(stderr, "newaliases: warning: %.*s\n", (int)strcspn(line, "\n"), line);
    buf_free(&warnings);
    if (count < 0) {
        (void)fprintf(stderr, "newaliases: %s; the map is as it was\n", error.text);
        return EX_DATAERR;
    }
    printf("%s: %ld %s\n", strchr(spec, ':') + 1, count, count == 1 ? "alias" : "aliases");
    return EX_OK;
}

static int build_all(const struct settings *settings)
{
    int status = EX_OK;
    if (settings->aliases.n == 0)
        (void)fprintf(stderr,
                      "newaliases: no alias map to build: the setting aliases is empty, or its default, /etc/aliases, is not there\n");
    for (size_t i = 0; i < settings->aliases.n; i++) {
        int result = build(settings->aliases.v[i]);
        status = status == EX_OK ? result : status;
    }
    return status;
}

/* -C, or the environment's POSTINO_CONF, as for sendmail and mailq. */
static const char *configuration(int argc, char **argv)
{
    const char *file = getenv("POSTINO_CONF");
    int option;
    while ((option = getopt(argc, argv, "C:v")) != -1) {
        if (option == 'C')
            file = optarg;
        else if (option != 'v')
            return NULL;
    }
    return optind < argc ? NULL : file && *file ? file : SYSCONFDIR "/postino/postino.conf";
}

int main(int argc, char **argv)
{
    struct report report = {0};
    const char *file = configuration(argc, argv);
    if (file == NULL) {
        (void)fprintf(stderr, "usage: newaliases [-C file]\n");
        return EX_USAGE;
    }
    struct settings *settings = parse_file(file, PARSE_FILE, &report);
    int status = EX_CONFIG;
    if (settings != NULL)
        status = build_all(settings);
    else
        (void)fputs(buf_text(&report.errors), stderr);
    settings_free(settings);
    report_free(&report);
    return status;
}
