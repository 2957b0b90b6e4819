/* nameservers: which resolvers are asked, from the configuration or from the host's resolv.conf. */
#ifndef POSTINO_NAMESERVERS_H
#define POSTINO_NAMESERVERS_H

#include "common/buf.h"

#define NAMESERVERS 8

struct nameservers {
    size_t n;                      /* 0: none, the root servers are asked */
    char address[NAMESERVERS][80]; /* "192.0.2.1", "192.0.2.1@5353" */
};

/* The `nameserver` lines of a resolv.conf(5). */
void nameservers_of_text(struct span text, struct nameservers *out);
/* The same of a file; one that is not there or can't be read has none. */
void nameservers_of_file(const char *path, struct nameservers *out);

#endif
