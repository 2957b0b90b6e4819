/* session_internal: what life and events (session.c), the choice of an address (attempt.c), the connection to it (connect.c, connect_proxy.c), the
 * greetings (hello.c), the transaction (transaction*.c) and the body (body.c) share. Nobody else includes it. */
#ifndef POSTINO_SESSION_INTERNAL_H
#define POSTINO_SESSION_INTERNAL_H

#include "common/stream.h"
#include "delivery/extensions.h"
#include "delivery/hosts.h"
#include "delivery/login.h"
#include "delivery/security.h"
#include "delivery/session.h"
#include "delivery/socks.h"
#include "delivery/stuff.h"
#include "delivery/tlsreport.h"

#define ATTEMPTS_MOST 2              /* of one session at a time */
#define SESSION_WORDS ((size_t)1200) /* the longest reason */

enum session_phase {
    SESSION_RESOLVING,
    SESSION_CONNECTING,
    SESSION_GREETING,
    SESSION_EHLO,
    SESSION_HELO,
    SESSION_STARTTLS,
    SESSION_HANDSHAKE,
    SESSION_LOGIN, /* creds is asked what to say */
    SESSION_AUTH,  /* ... and it was said: the reply is waited for */
    SESSION_IDLE,
    SESSION_MAIL, /* waits for the reply to MAIL, and so on */
    SESSION_RCPT,
    SESSION_DATA,
    SESSION_BODY,
    SESSION_END,
    SESSION_RSET,
    SESSION_QUIT,
};

struct transaction {
    bool pipelined;
    bool mail_refused;
    bool converted;   /* for a host that can't take the message as it is */
    bool bdat;        /* the message goes as one chunk (RFC 3030), not behind DATA */
    bool replied;     /* LMTP: the first of the replies behind the dot is there */
    size_t recipient; /* RCPT: whose reply is waited for */
    size_t left;      /* replies to RCPT that are to come */
    size_t accepted;
    bool put_off;       /* recipients were refused for the address that we come from: they will be tried over the other family */
    size_t open_before; /* undecided recipients at its start */
    struct stuff stuff;
    uint64_t sent; /* octets of the body that were read */
};

/* A connection that is being made to an address of the session's host. What must be said before the host can speak is said here: the session gets the stream
 * when the greeting is what comes next. */
struct attempt {
    struct session *session;
    size_t at;             /* in its hosts */
    uint64_t begun;        /* milliseconds of the monotonic clock */
    struct stream *stream; /* NULL: none is under way */
    bool talks;            /* to a SOCKS proxy that is there */
    struct socks socks;
};

struct session {
    struct session *next, *prev;  /* all of the process */
    struct session *next_idle;    /* of its site */
    struct session *next_offered; /* of its address, to other sites (reuse.c) */
    struct site *site;            /* NULL in QUIT */
    struct stream *stream;        /* NULL until the connection is there */
    struct attempt attempts[ATTEMPTS_MOST];
    enum session_phase phase;
    bool opening;        /* counted in site->opening */
    bool plain_only;     /* STARTTLS failed at this address */
    bool data_only;      /* so did BDAT, which it offers */
    bool refused;        /* the host has refused something of a message in this connection */
    bool shared;         /* it carried mail of other next hops before */
    bool waited;         /* the connection was idle, perhaps before its first message: the host may have closed it */
    uint64_t since;      /* the connection: milliseconds of the monotonic clock */
    enum security level; /* what this address must be */
    bool secured;
    bool located;      /* DNSSEC has proved which hosts are the next hop's, or the route names the host */
    bool unfit;        /* this host is left for good reason, and not for trouble */
    bool hopeful;      /* a host before this one may do later */
    bool there;        /* a host has answered that this one message can't go to: whatever the others do, the site is not down */
    bool gone;         /* to be freed when its handler returns */
    int depth;         /* of handlers */
    uint32_t question; /* to dns */
    uint32_t sts_question;
    struct security_sts sts;
    struct login login;
    struct event *timer;  /* RESOLVING: to begin at all; CONNECTING: the next address begins */
    uint64_t turned_away; /* CONNECTING: how often by a socket that has too many connections */
    struct hosts hosts;
    const struct settings_source *source; /* from where it goes; NULL: the system chooses */
    enum own_failure own;                 /* what of our own failed, of the attempt that was last */
    size_t at;                            /* the address in use */
    int averse;                           /* the address family that was refused; 0: none */
    bool strict;                          /* ... for good: no address of it is tried again */
    char peer[380];                       /* "mx.example[192.0.2.1]", for replies; with the port: session_add_peer() */
    struct extensions extensions;
    struct reply reply;
    uint64_t messages;      /* transactions */
    uint64_t messages_most; /* as the jobs that it had want it, and the server's MAILMAX */
    struct buf further;     /* what was wrong at an address that did answer: it says more than that the last one did not */
    char further_status[STATUS_MAX], further_peer[380];
    bool further_failed; /* the site, by that */
    struct buf domains;  /* of recipients so far, where the server limits them */
    uint32_t domain_count;
    struct job *job;
    struct transaction transaction;
    struct buf security;
    struct said said; /* before there was a job */
};

static inline bool offers(const struct session *s, enum extension extension)
{
    return s->extensions.offered & extension;
}

/* session.c */
void session_await(struct session *, enum session_phase, uint64_t seconds);                     /* the reply to something that was said */
void session_command(struct session *, enum session_phase, uint64_t seconds, const char *line); /* says it, and waits for its reply */
void session_ready(struct session *);                                                           /* takes the next job, or idles, or quits */
void session_too_full(struct session *);                                                        /* its job goes to a fresh one; it quits */
struct job_origin session_origin(const struct session *);
void session_finish_job(struct session *, bool site_failed); /* all recipients are decided */
void session_drop(struct session *);                         /* closes the connection; the session is gone */
/* "host X said: 450 4.2.1 text (in reply to MAIL FROM command)" */
void session_words(const struct session *, const char *in_reply_to, struct buf *out);
void session_log(const struct session *, struct span error);

struct host *session_host(const struct session *); /* the address in use */
void session_stop_opening(struct session *);       /* its site no longer counts on it for a job that waits */
void session_release(struct session *);            /* closes and frees it, when its handlers have returned; no job is left */

void session_enter(struct session *); /* around what happens in an event: a session that is released stays till the end */
void session_leave(struct session *);
void session_own(struct session *, struct stream *);       /* the stream becomes the session's */
void session_connected(struct session *, struct stream *); /* the same, and the greeting is waited for */

/* reuse.c */
void reuse_offer(struct session *);      /* IDLE: its connection may be another site's */
void reuse_withdraw(struct session *);   /* not any more, if it was */
bool reuse_connection(struct session *); /* in place of a connection to its host, an idle one is used. False: there is none that will do */

/* connect.c */
void session_use_address(struct session *, size_t at);
void session_connect(struct session *); /* to the address in use, or once more */
void connect_more(struct session *);    /* nobody has answered for a while: the next address joins the race */
void connect_stop(struct session *);    /* what is under way is closed */
void attempt_arrived(struct attempt *); /* what comes on its stream is the host's: the race is over, and the session's phase GREETING */
/* It came to nothing: the next address of the host, or the next host. `is_theirs`: the host is to blame, and nothing of ours. */
void attempt_give_up(struct attempt *, const char *why, bool is_theirs);

/* attempt.c */
void session_add_peer(const struct session *, struct buf *out); /* "mx.example[192.0.2.1]:25"; nothing while there is no address */
void session_say_not_connected(const struct session *, const char *why, struct buf *words);
void session_resolve(struct session *); /* asks for the next hop's addresses, and connects to the first */
/* This address is of no use (any more): the next one gets its turn, or, if a recipient is decided already, the rest is deferred. */
void session_trouble(struct session *, const char *status, bool site_failed, struct span words);
__attribute__((format(printf, 3, 4))) void session_troublef(struct session *, const char *status, const char *fmt, ...);
/* The same, when nothing but another host will help: after the last one, the end of the job, unless one before may do later. */
void session_unfit(struct session *, const char *status, struct span words);
bool session_goes_to_literal(
    const struct session *); /* the mail is for user@[192.0.2.1] and its like: it says itself where it goes (RFC 5321 4.1.3) */
bool session_has_next(const struct session *); /* another address is left */
void session_refused_family(struct session *); /* other addresses of this family are the last that are tried, here and in later sessions */
/* The reply that was just read is a 5xx to a job that has not been tried over both families, it blames the address that we come from, and the next hop has addresses of the
 * other family. */
bool session_may_change_family(const struct session *);
/* The connection ends here; the job goes on, with those of its recipients that are undecided, at an address of the other family. A reply there is the last word;
 * if there comes none, the refusals that were put off stand. */
void session_change_family(struct session *);
/* The end of the session, and of the job that is its own or of one that waits: no address will help. */
void session_give_up(struct session *, enum verdict, const char *status, bool site_failed, struct span words);

/* hello.c */
void hello_reply(struct session *); /* GREETING, EHLO, HELO, STARTTLS: a reply is whole */
void hello_lost(struct session *, const char *how, const char *why);
void hello_tls_failed(struct session *, const char *why); /* STARTTLS, HANDSHAKE */
void hello_secured(struct session *);
void hello_start_tls(struct session *);             /* smtps: the connection is there; TLS comes before the greeting */
const char *hello_silence(const struct session *s); /* GREETING: what it may be that none comes */

/* transaction.c */
void transaction_begin(struct session *);
void transaction_reply(struct session *);  /* MAIL to RSET: a reply is whole */
void transaction_broken(struct session *); /* a reply that is none */
/* The connection broke in MAIL to RSET. */
void transaction_lost(struct session *, const char *how /* "lost connection with" */, const char *why /* ": Connection reset", or "" */);
/* Has the server decided on a recipient of the job yet? */
bool transaction_decided(const struct session *);

/* transaction_verdict.c */
/* The words about a refusal of the last command, and its status: "host X said: ...". True: it is for good. */
bool transaction_refusal(const struct session *, const char *in_reply_to, char status[STATUS_MAX], struct buf *words);
/* What a recipient is that the server took responsibility for. */
enum verdict transaction_verdict(const struct session *);

/* lmtp.c: a reply for each recipient (RFC 2033 4.2) */
void lmtp_end_reply(struct session *);    /* END */
void lmtp_early_reply(struct session *);  /* BODY */
bool lmtp_cut_reply(struct session *);    /* END: one that is too long; true: all are decided, and the session is over */
const char *lmtp_advice(const char *why); /* what to do when a socket can't be connected to, by the words of its errno */

/* fit.c */
bool fit_needs_conversion(const struct session *); /* the host lacks what the message of its job needs as it is */
bool fit_converts(const struct job *);             /* such a message is converted (it was surveyed), and does not go as it is */
/* The next address may take what this host can't; before that the host gets the message for the recipients that it can. True: it was left, or the job was. */
bool fit_left(struct session *);
bool fit_refused(struct session *); /* all recipients are decided: the message is too large, too late, or no host is left that takes it */
int64_t fit_time_left(const struct job *); /* seconds until its deadline, in the nine digits of RFC 2852 4 */

/* portion.c */
size_t portion_choose(struct session *); /* marks the recipients of the next transaction; how many, 0: this session may have none of them */
size_t portion_next(const struct job *, size_t i); /* the next of them from `i` on that is undecided; the job's count: none */
bool portion_needs_utf8(const struct job *);       /* the message does, or one of its recipients */
bool portion_lacks_utf8(const struct session *, size_t recipient); /* it is undecided, and this host can't take it as it has no SMTPUTF8 */
void portion_decide_rest(struct job *, enum verdict, const char *status, struct span words);
void portion_put_off_rest(struct job *, const char *status, struct span words);
/* All of them are decided, or put off: so is the job, or it goes on with the others. False: it goes on in this session, at another address. */
bool portion_over(struct session *, bool site_failed);

/* body.c */
/* Finds out what has to be done so that the host can take the message. False: it can't be read, and the session is over. */
bool body_survey(struct session *);
void body_begin(struct session *);    /* the server waits for it, or BDAT goes in front */
void body_continue(struct session *); /* writes the next piece; after the last one the phase is END */

#endif
