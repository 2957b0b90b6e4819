/* session_state: the inside of a session, for session.c (life, replies), session_input.c, session_log.c, accept.c,
 * door.c (before the greeting), verbs.c, verb_mail.c, verb_times.c and verb_auth.c (commands), verb_bdat.c and intake.c (the text of a message). */
#ifndef POSTINO_SMTPD_SESSION_STATE_H
#define POSTINO_SMTPD_SESSION_STATE_H

#include "common/log.h"
#include "common/stream.h"
#include "smtpd/command.h"
#include "smtpd/data.h"
#include "smtpd/envelope.h"
#include "smtpd/session.h"
#include "smtpd/tls_client.h"
#include "smtpd/xclient.h"

#include <time.h>

enum session_state { SESSION_QUIET, SESSION_HANDSHAKE, SESSION_COMMAND, SESSION_RESPONSE, SESSION_WAIT, SESSION_TEXT, SESSION_ENDED };

/* What WAIT waits for. */
enum session_wait {
    WAIT_ADMITTED,
    WAIT_COUNTED,
    WAIT_CLIENT,
    WAIT_ROUTE,
    WAIT_MECHANISMS,
    WAIT_AUTH,
    WAIT_AUTH_DELAY,
    WAIT_USAGE,
    WAIT_ID,
    WAIT_APPEND,
    WAIT_PUT,
    WAIT_FLUSH
};

/* BDAT: the chunk whose octets are being read, or were read last. */
struct chunk {
    bool reading, last;
    uint64_t size, left;
    const struct refusal *refused; /* its octets are thrown away, and then this is said */
};

/* What a chunk, or the beginning of a text, is refused with. */
struct refusal {
    unsigned code;
    const char *status, *text;
};

struct intake; /* intake.c: the message that is coming in */

typedef void session_go_on(struct session *);

struct session {
    struct server *server;
    const struct settings_listener *listener; /* NULL: the submit socket */
    struct stream *stream;                    /* NULL once the client is gone or sent away */
    TAILQ_ENTRY(session) link;
    struct sockaddr_storage address;
    enum session_state state;
    enum session_wait wait;
    bool local, counted, esmtp, greeted, client_known, draining, stalled, skipping_line, tls_active;
    bool acted;           /* a command was looked at */
    bool stranger;        /* the limits of client { } are for it */
    bool early;           /* it spoke before the greeting */
    bool pipelining;      /* it sent commands out of turn */
    uint64_t number;      /* at the door; 0: it is not known there */
    bool passed;          /* it need not wait for the greeting */
    session_go_on *go_on; /* COUNTED: it was not too much */
    const char *go_on_verb;
    struct buf initial; /* AUTH's response, while it is counted; wiped */
    bool has_initial;
    bool nobody; /* a proxy's own connection: no mail comes that way */
    bool may_xclient, may_xforward;
    struct xattributes *told;      /* by XCLIENT, all of it; NULL: nothing was */
    struct xattributes *forwarded; /* by XFORWARD, for this message; NULL: nothing was */
    uid_t uid;
    uint64_t ends; /* the session as a whole; monotonic milliseconds */
    uint64_t due;  /* the command that is awaited, as a whole: octets one by one do not put it off. 0: not awaited yet */
    struct shed_place place;
    uint64_t errors, auth_failures;
    unsigned answers; /* how many times a reply is said: LMTP, for each recipient behind the text; 0: once */
    unsigned idle;    /* commands since the last message that bring none nearer */
    struct peer *asked;
    uint32_t question, client_question;
    struct ids_waiter id_waiter;
    struct buf client; /* address as text; "" for who comes over a socket */
    struct buf peer;   /* who spoke for the client: the address of a proxy; "" for nobody */
    struct buf name;   /* "unknown" until route said more */
    struct buf helo, login, tls;
    struct buf claimed;             /* whose login AUTH is about: it is `login` with the verdict, and not before */
    struct tls_client *certificate; /* of the client; NULL: it has shown none */
    uint64_t conversation;          /* with auth; 0: none */
    unsigned verdict;               /* of auth, while it is delayed */
    char mechanism[24];             /* that was tried last, for the log */
    struct buf recipient;           /* the RCPT that is being asked about, and what is wished for it */
    struct buf orcpt;
    struct span rule; /* of `access`, that refuses it; for the log, while it is refused */
    uint16_t notify;
    struct envelope envelope;
    struct intake *intake;
    struct chunk chunk;
};

/* Mail that is made on this host comes in, over the submit socket; others over a socket are local, but no more than clients. */
static inline bool session_submits(const struct session *s)
{
    return s->local && !s->listener;
}

static inline bool session_is_lmtp(const struct session *s)
{
    return s->listener && s->listener->protocol == LISTENER_PROTOCOL_LMTP;
}

/* ---- session.c ---- */
__attribute__((format(printf, 4, 5))) void session_reply(struct session *, unsigned code, const char *status, const char *fmt, ...);
/* A 4xx or 5xx, with a log line; a 5xx counts as an error. `about` says what: "RCPT". s->rule, where it is set, is what decides. */
__attribute__((format(printf, 5, 6))) void session_refuse(struct session *, const char *about, unsigned code, const char *status,
                                                          const char *fmt, ...);
#define session_refuse_by(s, by, ...) ((s)->rule = SPAN_LITERAL(by), session_refuse((s), __VA_ARGS__))
/* The last reply; the connection ends behind it. */
__attribute__((format(printf, 4, 5))) void session_end(struct session *, unsigned code, const char *status, const char *fmt, ...);
void session_ask(struct session *, enum session_wait, struct peer *, const struct message *, peer_answer_fn *, uint64_t seconds);
void session_wait(struct session *, enum session_wait, uint64_t seconds); /* 0: as long as it takes */
void session_answered(struct session *);                                  /* in an answer's callback, first: WAIT is over */
void session_resume(struct session *); /* in any event's callback, last: looks at input, flushes, or frees the session */
const char *session_protocol(const struct session *);
void session_end_if_due(struct session *);                                              /* too many errors, or a stop of the program */
struct session *session_new(struct server *, const struct settings_listener *, int fd); /* NULL: no memory; the descriptor is closed */
void session_begin(struct session *);                                                   /* greets, or starts TLS */
bool session_trusted(const struct session *);                                           /* made here, logged in, or of relay_from */

void session_shed(struct session *);  /* 421, and it is gone. From outside of its own events */
void session_greet(struct session *); /* 220, and a command is awaited */
void session_leave(struct session *); /* what was said is sent; then the connection ends */

/* ---- door.c ---- */
bool session_is_stranger(const struct server *, const struct sockaddr *);
bool session_ask_admission(struct session *);  /* false: nobody need be asked; else session_welcome() follows, or the end */
void session_not_admitted(struct session *);   /* no answer came */
void session_welcome(struct session *);        /* the greeting, now or later, or TLS */
void session_spoke(struct session *);          /* in QUIET */
void session_waited_quietly(struct session *); /* QUIET is over: the greeting */
bool session_refused_early(struct session *);  /* RCPT: it spoke early, and the refusal is said */
/* Counts what the client wants to do against client { }; then `go_on`, or the refusal of `verb`. */
void session_count(struct session *, enum count, const char *verb, session_go_on *);
void session_not_counted(struct session *); /* no answer came */
void session_left(struct session *);
void session_is_another(struct session *); /* XCLIENT: another client is at the door; session_welcome() follows, or the end */

/* ---- accept.c ---- */
/* Who is behind a proxy; `client` NULL: nobody is. */
void session_accept_proxied(struct server *, const struct settings_listener *, int fd, const struct sockaddr *client,
                            const struct sockaddr *proxy);
/* XCLIENT: from here on the client has this address. False: it has too many sessions, and this one has ended. */
bool session_move(struct session *, const struct sockaddr *client);
void session_name_told(struct session *, const char *name);
void session_ask_name(struct session *); /* of route */
void session_turn_away(struct server *, int fd, const struct sockaddr *client, const char *code, const char *why, const char *rule);

/* ---- proxy_door.c ---- */
void arrival_begin(struct server *, const struct settings_listener *, int fd, const struct sockaddr *proxy);
void arrivals_end(struct server *); /* all of them */

/* ---- session_input.c ---- */
void session_input(struct session *); /* looks at what the stream has, as far as the state lets it */

/* ---- pipelining.c ---- */
/* A command was cut off: is there more behind it, where there must be nothing before its reply (RFC 2920)? True: so the session has ended. */
bool session_out_of_turn(struct session *, enum verb);

/* ---- session_log.c ---- */
void session_log_client(const struct session *, struct buf *line);
void session_log(const struct session *, enum log_level, const char *event, const char *key, const char *value);
void session_log_refused(const struct session *, const char *about, struct span reply);

/* ---- verbs.c ---- */
void session_command(struct session *, struct span line);
bool session_offers_requiretls(const struct session *);
bool session_offers_utf8(const struct session *);                             /* SMTPUTF8 */
bool session_offers(const struct session *, const char *keyword);             /* unless the listener hides it */
void session_ehlo(struct session *, struct span mechanisms);                  /* the reply to EHLO */
void session_ehlo_line(struct session *, struct buf *line, const char *next); /* the one of before is said; NULL: as the last */
void session_forget(struct session *);                                        /* HELO, login, envelope: as at connect */
void session_close_transaction(struct session *);

/* ---- verb_mail.c ---- */
void session_mail(struct session *, const struct command *);
void session_rcpt(struct session *, const struct command *);
void session_route_unknown(struct session *); /* no answer came */
void session_client_known(struct session *);  /* WAIT_CLIENT is over */

/* ---- verb_etrn.c ---- */
bool session_etrn_offered(const struct session *);
void session_etrn(struct session *, const struct command *);
void session_etrn_waited(struct session *); /* no answer came */

/* ---- verb_times.c: what a sender asks about when, and how soon ---- */
struct times;
bool session_times(struct session *, const struct command *, struct times *); /* MAIL; false, and the refusal is said: it can't be had */
void session_mail_ok(struct session *);                                       /* the reply to MAIL */
void session_ehlo_times(struct session *, struct buf *line);                  /* its lines of the reply to EHLO */

/* ---- verb_xclient.c ---- */
void session_trust(struct session *); /* whether it may XCLIENT and XFORWARD, by its address */
void session_xclient(struct session *, const struct command *);
void session_xforward(struct session *, const struct command *);
void session_log_forwarded(const struct session *, struct buf *line);

/* ---- verb_auth.c ---- */
bool session_auth_offered(const struct session *);
void session_ask_mechanisms(struct session *); /* session_ehlo() follows */
void session_auth(struct session *, const struct command *);
void session_auth_response(struct session *, struct span line);
void session_auth_waited(struct session *, enum session_wait); /* no answer came in time, or a delay is over */
bool session_ask_usage(struct session *);   /* DATA: false: this session has no limits an hour; else intake_start() follows */
void session_auth_cancel(struct session *); /* auth need not go on with it */

/* ---- verb_bdat.c ---- */
void session_bdat(struct session *, const struct command *);
void session_bdat_refuse(struct session *, const struct refusal *); /* the chunk whose octets are still to come */
void session_chunk(struct session *);                               /* looks at input in TEXT, while a chunk is read */

/* ---- intake.c ---- */
void intake_start(struct session *);                     /* DATA or the first BDAT was accepted */
void intake_take(struct session *);                      /* looks at input in TEXT behind DATA */
size_t intake_add(struct session *, struct span);        /* takes some of the text; 0: the session waits for qmgr */
bool intake_is_lost(const struct session *);             /* it will be refused, whatever follows */
void intake_end(struct session *);                       /* no chunk follows: stores it, or refuses it */
void intake_waited(struct session *, enum session_wait); /* no answer came in time */
size_t intake_memory(const struct session *);            /* of the text that is here, or with a qmgr that has not answered */
uint64_t intake_octets(const struct session *);          /* of the text that have come */
void intake_free(struct session *);

#endif
