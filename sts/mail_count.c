#include "sts/mail_count.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DOMAINS_MOST ((size_t)2000)

static struct {
    char domain[256];
    size_t count;
} counts[DOMAINS_MOST];
static size_t n;

static bool is_below(const char *name, const char *above)
{
    size_t length = strlen(name), tail = strlen(above);
    return length > tail && name[length - tail - 1] == '.' && strcasecmp(name + length - tail, above) == 0;
}

bool mail_count_may(const char *address, const char *about, size_t most)
{
    const char *at = strrchr(address, '@'), *domain = at ? at + 1 : address;
    size_t i = 0;
    if (strcasecmp(domain, about) == 0 || is_below(domain, about))
        return true;
    while (i < n && strcasecmp(counts[i].domain, domain) != 0)
        i++;
    if (i == DOMAINS_MOST || strlen(domain) >= sizeof counts[i].domain)
        return false;
    if (i == n) {
        memcpy(counts[n].domain, domain, strlen(domain) + 1);
        counts[n++].count = 0;
    }
    return counts[i].count < most && ++counts[i].count;
}

void mail_count_clear(void)
{
    n = 0;
}
