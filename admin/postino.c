/* postino: the administrator's command. Finds the subcommand; each is in a file of its own. */
#include "admin/admin.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#ifndef POSTINO_VERSION
#define POSTINO_VERSION "0.1"
#endif

static int cmd_help(struct admin *, int argc, char **argv);
static int cmd_version(struct admin *, int argc, char **argv);

static const struct command {
    const char *name, *arguments, *help;
    int (*run)(struct admin *, int argc, char **argv);
} commands[] = {
    {"check", "[-v]", "check the configuration and what of this host it needs", cmd_check},
    {"start", "[-f]", "start Postino; -f: in the foreground", cmd_start},
    {"run", "", "start Postino in the foreground", cmd_run},
    {"stop", "", "stop it, once the messages under way are done", cmd_stop},
    {"reload", "", "check the configuration, and let the running Postino take it", cmd_reload},
    {"status", "", "tell whether it runs", cmd_status},
    {"queue", "list | show | hold | release | retry | ...", "look at the queue, and change it", cmd_queue},
    {"sites", "[--json]", "print the receivers: how much waits, limits, which are dead", cmd_sites},
    {"site", "DOMAIN", "tell where mail for a domain would go, and what of TLS would be demanded", cmd_site},
    {"spool", "check | repair | dump [ID...]", "look at the spool while Postino is stopped, and mend it", cmd_spool},
    {"map", "TYPE:/PATH", "build a map from its source", cmd_map},
    {"why", "--client A --to T ...", "tell what would be said to a recipient, and by which rule", cmd_why},
    {"password", "[-c | -i ITERATIONS] [NAME]", "make a line of the password file", cmd_password},
    {"help", "", "print this", cmd_help},
    {"version", "", "print the version", cmd_version},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

int admin_fail(int status, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "postino %s: ", name);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return status;
}

int admin_settings(struct admin *a)
{
    if (a->settings)
        return EX_OK;
    report_free(&a->report);
    a->report = (struct report){0};
    a->settings = parse_file(a->path, PARSE_FILE, &a->report);
    if (!a->settings)
        fputs(buf_text(&a->report.errors), stderr);
    return a->settings ? EX_OK : EX_CONFIG;
}

static void usage(FILE *out)
{
    fputs("usage: postino [-c FILE] SUBCOMMAND\n", out);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "    %-8s %-42s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    fputs("FILE is " SYSCONFDIR "/postino/postino.conf, if not given. See postino(8) and postino.conf(5).\n", out);
}

static int cmd_help(struct admin *a, int argc, char **argv)
{
    (void)a;
    (void)argc;
    (void)argv;
    usage(stdout);
    return EX_OK;
}

static int cmd_version(struct admin *a, int argc, char **argv)
{
    (void)a;
    (void)argc;
    (void)argv;
    puts("postino " POSTINO_VERSION);
    return EX_OK;
}

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static int run(const struct command *command, struct admin *a, int argc, char **argv)
{
    optind = 0; /* glibc: start anew, with another argv */
    int status = command->run(a, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout))
        status = admin_fail(EX_IOERR, command->name, "the output can't be written; look at where it goes");
    settings_free(a->settings);
    report_free(&a->report);
    return status;
}

int main(int argc, char **argv)
{
    struct admin a = {.path = SYSCONFDIR "/postino/postino.conf"};
    int option;
    while ((option = getopt(argc, argv, "+c:")) != -1) {
        if (option != 'c') {
            usage(stderr);
            return EX_USAGE;
        }
        a.path = optarg;
    }
    const struct command *command = optind < argc ? find(argv[optind]) : NULL;
    if (command)
        return run(command, &a, argc - optind, argv + optind);
    if (optind < argc)
        fprintf(stderr, "postino: there is no subcommand %s\n", argv[optind]);
    usage(stderr);
    return EX_USAGE;
}
