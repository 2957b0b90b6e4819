#include "resolver/nameservers.h"

#include "common/address.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct span word(struct span *line)
{
    while (line->n > 0 && blank(line->p[0]))
        *line = span_make(line->p + 1, line->n - 1);
    size_t n = 0;
    while (n < line->n && !blank(line->p[n]))
        n++;
    struct span w = span_make(line->p, n);
    *line = span_make(line->p + n, line->n - n);
    return w;
}

/* "fe80::1%eth0" is taken as it is: only what stands before the zone is looked at. */
static bool is_address(struct span s)
{
    const char *zone = s.n > 0 ? memchr(s.p, '%', s.n) : NULL;
    struct sockaddr_storage ss;
    socklen_t len;
    return s.n < sizeof((struct nameservers *)0)->address[0] &&
           address_to_socket(span_make(s.p, zone ? (size_t)(zone - s.p) : s.n), 0, &ss, &len);
}

static void take_line(struct span line, struct nameservers *out)
{
    if (!span_equal(word(&line), SPAN_LITERAL("nameserver")))
        return;
    struct span address = word(&line);
    if (out->n < NAMESERVERS && is_address(address))
        snprintf(out->address[out->n++], sizeof out->address[0], "%.*s", SPAN_ARG(address));
}

void nameservers_of_text(struct span text, struct nameservers *out)
{
    out->n = 0;
    while (text.n > 0)
        take_line(span_until(&text, '\n'), out);
}

void nameservers_of_file(const char *path, struct nameservers *out)
{
    char text[16384];
    out->n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    if (n > 0)
        nameservers_of_text(span_make(text, (size_t)n), out);
}
