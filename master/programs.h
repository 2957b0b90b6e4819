/* programs: which programs there are, and which of them talk to which. All that the master starts and wires comes from these two tables
 * (docs/architecture.md has the same ones for people). */
#ifndef POSTINO_PROGRAMS_H
#define POSTINO_PROGRAMS_H

#include <stdbool.h>
#include <stddef.h>

struct settings;

enum program_id {
    PROGRAM_DNS,
    PROGRAM_ROUTE,
    PROGRAM_AUTH,
    PROGRAM_TLSMGR,
    PROGRAM_STS,
    PROGRAM_CREDS,
    PROGRAM_REMOTE,
    PROGRAM_LMTP,
    PROGRAM_LOCAL,
    PROGRAM_QMGR,
    PROGRAM_SMTPD
};
#define PROGRAM_COUNT 11

/* Which programs end in which step of a stop: those that take mail in first, then the queue, then whom it asks. */
enum stop_step { STOP_INTAKE, STOP_QUEUE, STOP_REST, STOP_DONE };

struct program_row {
    const char *name;      /* "smtpd": the program is postino-smtpd, the user that of `users` */
    char letter;           /* its slice of the configuration (conf/settings.def) */
    bool many;             /* smtpd_processes of it; else one */
    bool stays;            /* through a reload: it takes the new configuration, and is never there twice */
    bool last;             /* is started when all the others of its generation are ready: it is whom the clients meet */
    const char *unix_name; /* the UNIX listener it gets, below directory.run */
    bool inet;             /* it gets all listener sections, those on sockets too */
    enum stop_step step;
};

struct edge_row {
    enum program_id client, server;
    unsigned protocols; /* mask of enum protocol: what is spoken */
};

extern const struct program_row programs[PROGRAM_COUNT];
#define EDGE_COUNT 17
extern const struct edge_row edges[EDGE_COUNT];

size_t program_processes(enum program_id, const struct settings *);

#endif
