#include "qmgr/spool_ahead.h"
#include "qmgr/memory.h"
#include "qmgr/spool_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 16
#define SHELVES 256
#define OCTETS  8192 /* of each file: most have no more */

struct spool_ahead {
    int directory;
    atomic_uint shelf; /* the next one that nobody reads */
    atomic_bool stop;
    unsigned count;
    pthread_t threads[THREADS];
};

static void read_file(int directory, const char *name)
{
    char octets[OCTETS];
    int fd = openat(directory, name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = pread(fd, octets, sizeof octets, 0);
    (void)n;
    close(fd);
}

static void read_shelf(struct spool_ahead *a, unsigned number)
{
    char path[SPOOL_PATH];
    spool_shelf_path(path, number);
    int fd = openat(a->directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir)
        return;
    for (struct dirent *d; !a->stop && (d = readdir(dir));) {
        if (d->d_type == DT_REG)
            read_file(fd, d->d_name);
    }
    closedir(dir);
}

static void *thread(void *arg)
{
    struct spool_ahead *a = arg;
    for (unsigned number; !a->stop && (number = a->shelf++) < SHELVES;)
        read_shelf(a, number);
    return NULL;
}

struct spool_ahead *spool_ahead_start(int directory, unsigned first)
{
    struct spool_ahead *a = memory_new(1, sizeof *a);
    a->directory = directory;
    a->shelf = first;
    while (a->count < THREADS && pthread_create(&a->threads[a->count], NULL, thread, a) == 0)
        a->count++;
    return a;
}

void spool_ahead_stop(struct spool_ahead *a)
{
    if (!a)
        return;
    a->stop = true;
    while (a->count > 0)
        pthread_join(a->threads[--a->count], NULL);
    free(a);
}
