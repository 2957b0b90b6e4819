/* mailq: what is in the queue. */
#include "admin/place.h"
#include "admin/queue_print.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static int usage(void)
{
    (void)fprintf(stderr, "usage: mailq [-j] [-C file]; postino queue selects and changes, postino sites tells of the receivers\n");
    return EX_USAGE;
}

int main(int argc, char **argv)
{
    char run[512];
    struct error error;
    const char *file = NULL;
    enum queue_form form = QUEUE_TABLE;
    int option;
    while ((option = getopt(argc, argv, "C:jv")) != -1) {
        if (option == 'C')
            file = optarg;
        else if (option == 'j')
            form = QUEUE_JSON;
        else if (option != 'v')
            return usage();
    }
    if (optind < argc)
        return usage();
    int status = place_run("mailq", file, run, sizeof run, &error);
    if (status == EX_OK)
        status = queue_print_all(run, 0, form, stdout, &error);
    if (status != EX_OK)
        (void)fprintf(stderr, "mailq: %s\n", error.text);
    return status;
}
