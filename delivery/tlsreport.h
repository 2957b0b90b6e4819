/* tlsreport: what came of TLS in each session, told to sts, which makes the daily reports to the receivers (RFC 8460).
 *
 * Told of are sessions with a domain whose route leaves it to the receiver's policy (tls = dane, dane-only), and none where `tlsrpt { from }` is not
 * set. A message that waived the policy has no such route (site.c), so the session that carries a report is in no report (RFC 8460 3).
 *
 * A notice costs the session nothing: those that are alike add up here, and all leave in one go, a second after the first. While sts does not read
 * them they are dropped. */
#ifndef POSTINO_TLSREPORT_H
#define POSTINO_TLSREPORT_H

struct session;

void tlsreport_unusable(struct session *);                  /* its host may not be used: SECURITY_UNUSABLE */
void tlsreport_no_tls(struct session *, const char *words); /* STARTTLS is not there, or was refused */
void tlsreport_failed(struct session *, const char *words); /* the handshake */
void tlsreport_secured(struct session *);                   /* it is done, and proved what the level demands */
void tlsreport_flush(void);                                 /* tells what there is */

#endif
