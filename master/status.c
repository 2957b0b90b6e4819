#include "master/status.h"

#include "common/log.h"
#include "master/master.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define NAME "master.status"
#define NEW  "master.status.new"

static unsigned long reloads;

static bool write_new(struct span text)
{
    int fd = openat(master.run_directory, NEW, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return false;
    bool good = write(fd, text.p, text.n) == (ssize_t)text.n;
    return close(fd) == 0 && good;
}

/* Without it a `postino reload` waits in vain, and says so; nothing else depends on it. */
static void write_file(const char *text)
{
    struct buf line = BUF_EMPTY(4096);
    buf_printf(&line, "%lu ", reloads);
    for (const char *p = text; *p; p++)
        buf_add_char(&line, (unsigned char)*p < ' ' ? ' ' : *p);
    buf_add_char(&line, '\n');
    if (!write_new(buf_span(&line)) || renameat(master.run_directory, NEW, master.run_directory, NAME) != 0)
        log_warning("%s/" NAME " can't be written: %s; postino reload can't tell what comes of it",
                    master.current ? master.current->settings->directory_run : "directory.run", strerror(errno));
    buf_free(&line);
}

void status_tell(enum notify_event event, const char *text)
{
    reloads += event == NOTIFY_EVENT_RELOADING;
    log_flush(); /* who is told finds the lines there */
    write_file(text);
    notify_send(event, text);
}

void status_remove(void)
{
    unlinkat(master.run_directory, NAME, 0);
}
