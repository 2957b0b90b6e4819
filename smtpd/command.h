/* command: one command line of an SMTP client, taken apart (RFC 5321 4.1.1, RFC 1870, 2852, 3030, 3461, 4865, 4954,
 * 6152, 6531, 6710). Pure: spans into the line, no
 * state.
 *
 * The line comes without its line end. Octets that are not printable ASCII or a blank are refused in all of it, so that nothing a client
 * says in a command can break a text field, a trace line or a log; UTF-8 (common/utf8.h) is taken in the four commands that RFC 6531 has it
 * for. Whether it was allowed there is the caller's to judge. Leniency, as clients need it: any case, blanks after the colon and at
 * the end, a path without angle brackets. */
#ifndef POSTINO_COMMAND_H
#define POSTINO_COMMAND_H

#include "common/address.h"
#include "common/messages.h"

enum verb {
    VERB_UNKNOWN,
    VERB_HTTP, /* GET, POST, ...: a web client made to talk to us */
    VERB_HELO,
    VERB_EHLO,
    VERB_LHLO,
    VERB_MAIL,
    VERB_RCPT,
    VERB_DATA,
    VERB_BDAT,
    VERB_RSET,
    VERB_NOOP,
    VERB_QUIT,
    VERB_VRFY,
    VERB_EXPN,
    VERB_HELP,
    VERB_STARTTLS,
    VERB_AUTH,
    VERB_XCLIENT,
    VERB_XFORWARD,
    VERB_ETRN,
};

enum command_result {
    COMMAND_OK,
    COMMAND_UNKNOWN,    /* no such verb */
    COMMAND_CHARACTERS, /* an octet that no command has */
    COMMAND_SYNTAX,     /* the arguments are not what the verb takes */
    COMMAND_PATH,       /* MAIL, RCPT: not an address */
    COMMAND_PARAMETER,  /* MAIL, RCPT: a parameter that we did not offer, or one that is there twice */
    COMMAND_VALUE,      /* MAIL, RCPT: a parameter with a value that can't be; one of RFC 3461 that is there twice */
};

enum body { BODY_UNSET, BODY_7BIT, BODY_8BITMIME, BODY_BINARYMIME };

struct command {
    enum verb verb;
    struct span word; /* the verb as it was sent */
    struct span
        argument; /* HELO, EHLO, LHLO: the name; VRFY, EXPN, ETRN, HELP, NOOP: all of it; AUTH: the mechanism; XCLIENT, XFORWARD: all of it */
    struct span initial; /* AUTH: the initial response */
    bool has_initial;
    struct address path; /* MAIL, RCPT; a local part alone is accepted here, and judged by the caller */
    uint64_t size;       /* MAIL SIZE=; 0: not given; UINT64_MAX: more than that. BDAT: of the chunk */
    bool last;           /* BDAT LAST */
    enum body body;
    bool requiretls;   /* MAIL REQUIRETLS (RFC 8689) */
    bool smtputf8;     /* MAIL, VRFY, EXPN: SMTPUTF8 */
    enum ret ret;      /* MAIL RET= */
    struct span envid; /* MAIL ENVID=, as it came: to be decoded with xtext_decode(), and then printable ASCII */
    struct span orcpt; /* RCPT ORCPT=, as it came: parameter_orcpt() decodes it */
    uint16_t notify;   /* RCPT NOTIFY=: enum notify bits; 0: not given */
    struct {
        uint32_t hold_for;    /* MAIL HOLDFOR=, seconds; 0: not given */
        uint64_t hold_until;  /* MAIL HOLDUNTIL=, seconds since 1970; 0: not given */
        uint16_t by_mode;     /* MAIL BY=: enum by_mode bits; 0: not given */
        int32_t by_time;      /* seconds */
        uint16_t mt_priority; /* MAIL MT-PRIORITY=, and MT_PRIORITY_ZERO; 0: not given */
    } times;
};

enum command_result command_parse(struct span line, struct command *);
const char *command_verb_name(enum verb);

#endif
