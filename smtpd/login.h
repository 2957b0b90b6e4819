/* login: what a client sends with AUTH PLAIN (RFC 4616 over RFC 4954), decoded strictly. Pure. */
#ifndef POSTINO_SMTPD_LOGIN_H
#define POSTINO_SMTPD_LOGIN_H

#include "common/buf.h"

enum login_result {
    LOGIN_OK,
    LOGIN_CANCELLED, /* "*" */
    LOGIN_NOT_BASE64,
    LOGIN_MALFORMED,      /* not [authzid] NUL user NUL password, or with octets that no name has */
    LOGIN_OTHER_IDENTITY, /* an authzid that is not the user: nobody may act for another here */
};

/* The spans point into `secret`, which the caller wipes with login_wipe(). */
enum login_result login_decode_plain(struct span response, struct buf *secret, struct span *user, struct span *password);
void login_wipe(struct buf *secret);

/* Strict base64 (RFC 4648 4): canonical, padded, no blanks. */
bool base64_decode(struct span in, struct buf *out);

#endif
