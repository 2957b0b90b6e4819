/* pam_warden: a process that asks PAM, beside postino-auth.
 *
 * PAM modules block, and need rights that auth must not have (the shadow file, a socket to a directory server). So auth starts this process before
 * it enters its sandbox. It keeps the user that the master runs as, reads nothing but requests of auth, each one packet on a SOCK_SEQPACKET
 * socketpair, and forks a child for each, which asks PAM and ends. A child that is not done in time is killed, with all that it started.
 *
 *   auth --pam_request--> warden --fork--> child --verdict on a pipe--> warden --pam_answer--> auth
 *
 * There are no more than `checks` children; auth asks no more at a time. It ends when auth does, and kills its children. */
#ifndef POSTINO_AUTH_PAM_WARDEN_H
#define POSTINO_AUTH_PAM_WARDEN_H

#include "auth/secret.h"
#include "common/error.h"

#define PAM_CLIENT_MOST 64

/* Texts are NUL-terminated. */
struct pam_request {
    uint32_t id;
    char user[NAME_MOST + 1];
    char password[PASSWORD_MOST + 1];
    char client[PAM_CLIENT_MOST];
};

struct pam_answer {
    uint32_t id;
    uint16_t verdict; /* AUTH_YES, AUTH_NO, AUTH_NOT_NOW */
    int16_t code;     /* of PAM, for the log; -1: killed, or it ended without one */
};

/* The socket to it, non-blocking; -1: the error says why. */
int pam_warden_start(const char *service, size_t checks, unsigned seconds, struct error *);

#endif
