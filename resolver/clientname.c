#include "resolver/clientname.h"

#include "common/address.h"
#include "common/log.h"
#include "resolver/question.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define NAMES 3 /* PTR names of one address that are tried */

/*   PTR --names--> CONFIRM each in turn --one has our address--> its name
 *    \--none--> "unknown"     \--none of them---> "unknown" */
struct clientname {
    clientname_fn *done;
    void *arg;
    struct question_wait *wait;
    uint8_t address[16];
    size_t octets; /* 4 or 16 */
    char names[NAMES][256];
    size_t count, tried;
};

static void finish(struct clientname *c, struct span name)
{
    c->done(name, c->arg);
    clientname_cancel(c);
}

void clientname_cancel(struct clientname *c)
{
    question_cancel(c->wait);
    free(c);
}

static void confirm_next(struct clientname *c);

static void confirmed(const struct question_answer *a, void *arg)
{
    struct clientname *c = arg;
    c->wait = NULL;
    for (size_t i = 0; a->result == QUESTION_OK && i < a->count; i++)
        if (memcmp(a->records[i].address, c->address, c->octets) == 0) {
            finish(c, span_of(c->names[c->tried]));
            return;
        }
    c->tried++;
    confirm_next(c);
}

static void confirm_next(struct clientname *c)
{
    if (c->tried == c->count)
        finish(c, SPAN_LITERAL("unknown"));
    else
        c->wait = question_ask(c->names[c->tried], c->octets == 4 ? WIRE_A : WIRE_AAAA, confirmed, c);
}

/* Whoever owns the address writes its PTR: only what is a host name, and not an address itself, goes on. */
static bool usable(const char *name)
{
    struct sockaddr_storage ss;
    socklen_t len;
    return strlen(name) < 256 && address_is_domain(span_of(name), false) && !address_to_socket(span_of(name), 0, &ss, &len);
}

static void have_ptr(const struct question_answer *a, void *arg)
{
    struct clientname *c = arg;
    c->wait = NULL;
    for (size_t i = 0; a->result == QUESTION_OK && i < a->count && c->count < NAMES; i++)
        if (usable(a->records[i].name))
            snprintf(c->names[c->count++], sizeof c->names[0], "%.255s", a->records[i].name);
    confirm_next(c);
}

static void reverse_name(const struct clientname *c, char *to, size_t size)
{
    const uint8_t *p = c->address;
    if (c->octets == 4) {
        snprintf(to, size, "%u.%u.%u.%u.in-addr.arpa", p[3], p[2], p[1], p[0]);
        return;
    }
    size_t n = 0;
    for (size_t i = 16; i-- > 0;)
        n += (size_t)snprintf(to + n, size - n, "%x.%x.", p[i] & 15u, p[i] >> 4u);
    snprintf(to + n, size - n, "ip6.arpa");
}

static bool take_address(struct clientname *c, struct span address)
{
    struct sockaddr_storage ss;
    socklen_t len;
    if (!address_to_socket(address, 0, &ss, &len))
        return false;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&ss;
    const uint8_t *p = six->sin6_addr.s6_addr;
    if (ss.ss_family == AF_INET)
        p = (const uint8_t *)&((const struct sockaddr_in *)&ss)->sin_addr;
    else if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        p += 12;
    c->octets = ss.ss_family == AF_INET || p != six->sin6_addr.s6_addr ? 4 : 16;
    memcpy(c->address, p, c->octets);
    return true;
}

struct clientname *clientname_start(struct span address, clientname_fn *done, void *arg)
{
    struct clientname *c = calloc(1, sizeof *c);
    if (c == NULL)
        log_die("out of memory for a client's name");
    c->done = done;
    c->arg = arg;
    if (!take_address(c, address)) {
        finish(c, SPAN_LITERAL("unknown"));
        return NULL;
    }
    char name[80];
    reverse_name(c, name, sizeof name);
    c->wait = question_ask(name, WIRE_PTR, have_ptr, c);
    return c;
}
