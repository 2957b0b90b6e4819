/* submit: one message to smtpd over its UNIX socket, from a command that a user calls. Blocking.
 *
 * Nothing is accepted by halves where it can be avoided: a recipient that is refused for now ends the transaction before the message is
 * sent; one that is refused for good is named, and the others get the message. When the server wants no more recipients in one transaction
 * (4.5.3), another follows. */
#ifndef POSTINO_SUBMIT_H
#define POSTINO_SUBMIT_H

#include "common/buf.h"
#include "common/error.h"

struct submission {
    struct span sender;      /* without <>; "" for null */
    struct span *recipients; /* without <> */
    size_t count;
    const char *notify; /* RFC 3461, as the command line has it; NULL: not given */
    const char *ret;
    const char *envid;
    bool verbose; /* the conversation goes to stderr */
    /* Lines to put in front, once it is known what the server is called; may be NULL. */
    void (*prepend)(struct buf *out, const char *server, void *arg);
    void *arg;
    struct span header; /* lines in LF or CR LF; without the fields that are not to be sent */
    struct span body;
};

/* EX_OK; or a sysexits code, with the error, which names the first recipient that was refused. */
int submit(const char *run, const struct submission *, struct error *);
/* The conversation itself from stdin and to stdout (-bs). */
int submit_relay(const char *run, struct error *);

#endif
