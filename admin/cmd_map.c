/* postino map: builds a map from its source. */
#include "admin/admin.h"
#include "common/map.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

static int build(const char *spec, enum map_form form)
{
    struct buf warnings = BUF_EMPTY(0);
    struct error error;
    long count = map_build(spec, form, &warnings, &error);
    for (const char *line = buf_text(&warnings); *line; line += strcspn(line, "\n") + 1)
        fprintf(stderr, "warning: %.*s\n", (int)strcspn(line, "\n"), line);
    buf_free(&warnings);
    if (count < 0)
        return admin_fail(EX_DATAERR, "map", "%s; the map is as it was", error.text);
    printf("%s: %ld %s\n", strchr(spec, ':') + 1, count,
           form == MAP_ALIASES ? count == 1 ? "alias" : "aliases"
           : count == 1        ? "entry"
                               : "entries");
    return EX_OK;
}

int cmd_map(struct admin *a, int argc, char **argv)
{
    enum map_form form = MAP_PLAIN;
    int option, status = EX_OK;
    (void)a;
    while ((option = getopt(argc, argv, "a")) != -1) {
        if (option != 'a')
            return admin_fail(EX_USAGE, "map", "usage: postino map [-a] TYPE:/PATH ...; TYPE is hash or btree");
        form = MAP_ALIASES;
    }
    if (optind == argc)
        return admin_fail(EX_USAGE, "map", "usage: postino map [-a] TYPE:/PATH ...; TYPE is hash or btree");
    for (int i = optind; i < argc; i++) {
        int result = build(argv[i], form);
        status = status == EX_OK ? result : status;
    }
    return status;
}
