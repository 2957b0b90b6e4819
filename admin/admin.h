/* admin: what the subcommands of postino(8) share. Each is one function in its own file, admin/cmd_NAME.c; admin/postino.c has the table of
 * them.
 *
 * A subcommand prints what was asked for to stdout, and errors (cause; next step) to stderr. It returns an exit status of sysexits(3). */
#ifndef POSTINO_ADMIN_H
#define POSTINO_ADMIN_H

#include "conf/parse.h"

struct admin {
    const char *path;          /* of the configuration file: -c, or SYSCONFDIR/postino/postino.conf */
    struct settings *settings; /* NULL until admin_settings() */
    struct report report;
};

/* Parses the file at the first call (syntax and the whole, no look at the host). EX_OK, or EX_CONFIG with the errors printed. */
int admin_settings(struct admin *);

/* argv[0] is the subcommand's name; getopt(3) is ready for it. */
int cmd_check(struct admin *, int argc, char **argv);
int cmd_start(struct admin *, int argc, char **argv);
int cmd_run(struct admin *, int argc, char **argv);
int cmd_stop(struct admin *, int argc, char **argv);
int cmd_reload(struct admin *, int argc, char **argv);
int cmd_status(struct admin *, int argc, char **argv);
int cmd_queue(struct admin *, int argc, char **argv);
int cmd_spool(struct admin *, int argc, char **argv);
int cmd_sites(struct admin *, int argc, char **argv);
int cmd_site(struct admin *, int argc, char **argv);
int cmd_map(struct admin *, int argc, char **argv);
int cmd_why(struct admin *, int argc, char **argv);
int cmd_password(struct admin *, int argc, char **argv);

/* Prints a line to stderr, "postino NAME: ...", and returns the status. */
__attribute__((format(printf, 3, 4))) int admin_fail(int status, const char *name, const char *fmt, ...);

#endif
