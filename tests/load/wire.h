/* wire: connections of the load generator: many, cheap, non-blocking, one epoll loop. An actor is one client with at most one connection; what it
 * does is its kind's. */
#ifndef POSTINO_LOAD_WIRE_H
#define POSTINO_LOAD_WIRE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct actor;

/* Whoever is in the epoll set begins with this. */
struct fired {
    void (*fire)(void *self, uint32_t events);
};

struct kind {
    const char *name;
    void (*reply)(struct actor *, int code);  /* a whole reply has come; a->line is its last line */
    void (*tick)(struct actor *);             /* now >= a->wake */
    void (*ended)(struct actor *, bool ours); /* the connection is closed, or was not made */
    void (*secured)(struct actor *);          /* NULL, or the TLS handshake is done */
    void (*writable)(struct actor *);         /* NULL, or all output is gone: more may be sent */
};

struct actor {
    struct fired fired;
    const struct kind *kind;
    unsigned index;
    uint32_t source; /* address, host order */
    int fd;          /* -1: none */
    SSL *ssl;
    bool connecting, handshaking, deaf /* never reads */;
    uint32_t interest;
    int step;
    uint64_t wake; /* microseconds; 0: never */
    char line[600];
    size_t line_len;
    char *out;
    size_t out_len, out_at, out_cap;
    uint32_t message;
    unsigned messages;       /* in this connection */
    uint64_t planned, began; /* a message: when it should begin, and when it did */
};

extern uint64_t now_us;
extern int loop; /* the epoll descriptor */
extern uint16_t server_port;

uint64_t clock_us(void);
void clock_stood(uint64_t us); /* ... and so long it stands still */
void wire_watch(int fd, struct fired *, uint32_t events);
void actor_open(struct actor *);
void actor_close(struct actor *, bool reset); /* ended() is not called */
void actor_say(struct actor *, const char *text);
void actor_send(struct actor *, const void *, size_t);
void actor_start_tls(struct actor *); /* secured() follows, or ended() */
void actor_wake_in(struct actor *, uint64_t milliseconds);
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *fmt, ...);

#endif
