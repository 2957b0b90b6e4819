#include "sts/told.h"

#include "common/crc32c.h"
#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define NAME 40

static int directory = -1;

void told_setup(int fd)
{
    directory = fd;
}

static uint32_t sum_of(const char *place)
{
    return crc32c(0, place, strlen(place));
}

static void mark(struct tally_domain *d, uint32_t sum)
{
    if (d->told_count < TALLY_TOLD)
        d->told[d->told_count++] = sum;
}

static void recall_line(struct tally *t, struct span line)
{
    struct span name;
    bool one_place = span_cut(&line, ' ', &name);
    struct tally_domain *d = tally_find(t, name);
    if (!d)
        return;
    if (one_place)
        mark(d, crc32c(0, line.p, line.n));
    else
        d->over = true;
}

static void told_name(uint64_t day, char name[NAME])
{
    snprintf(name, NAME, ".tlsrpt.%" PRIu64 ".told", day);
}

void told_recall(struct tally *t)
{
    char name[NAME];
    struct buf text = BUF_EMPTY(TALLY_FILE);
    told_name(tally_day(t), name);
    file_read_at(directory, name, &text);
    struct span rest = buf_span(&text), line;
    while (span_cut(&rest, '\n', &line)) /* the last line of a process that was killed has no end */
        recall_line(t, line);
    buf_free(&text);
}

void told_add(uint64_t day, struct tally_domain *d, const char *place)
{
    char name[NAME];
    struct buf line = BUF_EMPTY(2048);
    if (place)
        mark(d, sum_of(place));
    else
        d->over = true;
    told_name(day, name);
    buf_printf(&line, "%s%s%s\n", d->name, place ? " " : "", place ? place : "");
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line.data, line.len) != (ssize_t)line.len)
        log_warning("%s in directory { sts } can't be written: %s; after a restart a report may go out twice", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    buf_free(&line);
}

bool told_has(const struct tally_domain *d, const char *place)
{
    for (size_t i = 0; i < d->told_count; i++)
        if (d->told[i] == sum_of(place))
            return true;
    return false;
}
