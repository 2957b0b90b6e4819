#include "sts/alive.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>

#define NAME ".tlsrpt.alive"

static struct {
    int directory, fd;
    bool told;
} self = {.directory = -1, .fd = -1};

void alive_setup(int directory)
{
    self.directory = directory;
}

static int set(short type, uint64_t octet)
{
    struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)octet, .l_len = 1};
    if (self.fd < 0)
        self.fd = openat(self.directory, NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    return self.fd < 0 ? -1 : fcntl(self.fd, F_OFD_SETLK, &f);
}

int alive_tell(uint64_t start)
{
    if (!self.told)
        self.told = set(F_WRLCK, start) == 0;
    return self.told ? 0 : -1;
}

/* A number that is none of a start can't be locked (EINVAL, EOVERFLOW). */
bool alive_is(uint64_t start)
{
    if (set(F_WRLCK, start) != 0)
        return self.fd < 0 || (errno != EINVAL && errno != EOVERFLOW);
    set(F_UNLCK, start);
    return false;
}
