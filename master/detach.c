#include "master/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

static int front = -1; /* write end of the pipe */

static size_t read_all(int fd, char *to, size_t n)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = read(fd, to + have, n - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    return have;
}

/* The pipe carries one octet of exit status, and a text. */
__attribute__((noreturn)) static void wait_in_front(int fd)
{
    unsigned char status;
    char text[1024];
    if (read_all(fd, (char *)&status, 1) != 1) {
        fprintf(stderr, "postino-master: it ended before it was up; the log may say why\n");
        _exit(EX_SOFTWARE);
    }
    size_t n = read_all(fd, text, sizeof text);
    if (n > 0)
        fprintf(stderr, "postino-master: %.*s\n", (int)n, text);
    _exit(status);
}

int detach(struct error *error)
{
    int pair[2];
    if (pipe2(pair, O_CLOEXEC) != 0)
        return error_set(error, "no pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0)
        return error_set(error, "no second process: %s", strerror(errno));
    if (pid > 0) {
        close(pair[1]);
        waitpid(pid, NULL, 0);
        wait_in_front(pair[0]);
    }
    close(pair[0]);
    setsid();
    pid = fork();
    if (pid != 0)
        _exit(pid < 0 ? EX_OSERR : 0);
    front = pair[1];
    return chdir("/") == 0 ? 0 : error_set(error, "/: %s", strerror(errno));
}

static void tell(uint8_t status, const char *text)
{
    if (front < 0)
        return;
    (void)!write(front, &status, 1);
    (void)!write(front, text, strlen(text));
    close(front);
    front = -1;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    close(null);
}

void detach_ready(void)
{
    tell(0, "");
}

void detach_failed(int exit_status, const char *text)
{
    tell((uint8_t)exit_status, text);
}
