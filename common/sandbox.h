/* sandbox: what a program may still do once it reads a stranger's bytes.
 *
 * Order: rlimits; opening of Landlock directories; root directory; groups, gid, uid; capabilities; no_new_privs; Landlock; seccomp (kills
 * the process by default). Every step that fails is fatal to the program (-1 and an error), as a sandbox that is half there is none.
 * Without root, users, root directories and capabilities are left out, and all the rest stays. */
#ifndef POSTINO_SANDBOX_H
#define POSTINO_SANDBOX_H

#include "common/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SANDBOX_PATHS 160
#define SANDBOX_PORTS 32

enum sandbox_access {
    SANDBOX_READ = 1,   /* files below may be read, directories listed */
    SANDBOX_WRITE = 2,  /* ... and made, written, renamed, removed */
    SANDBOX_EXEC = 4,   /* shared objects and programs may be mapped for execution */
};

/* Sets of system calls beyond the base set (memory, time, event loop, read and write on descriptors that are already open, exit). */
enum sandbox_calls {
    SANDBOX_ACCEPT = 1,        /* accept4 on inherited listeners, and what a session needs (getpeername, setsockopt, shutdown) */
    SANDBOX_STREAM_OUT = 2,    /* socket(AF_INET, AF_INET6; SOCK_STREAM), connect */
    SANDBOX_DGRAM_OUT = 4,     /* the same with SOCK_DGRAM, and bind */
    SANDBOX_UNIX_OUT = 8,      /* socket(AF_UNIX), connect (name service switch) */
    SANDBOX_FILES_READ = 16,   /* openat for reading, stat, getdents, pread */
    SANDBOX_FILES_WRITE = 32,  /* openat in full, write, fsync, rename, link, unlink, mkdir */
    SANDBOX_FORK = 64,         /* clone, wait, setuid, setgid, setgroups, Landlock (local's spawner and its workers) */
    SANDBOX_THREADS = 128,     /* clone with CLONE_THREAD */
    SANDBOX_STREAM_TO = 512,   /* socket(AF_INET, AF_INET6; SOCK_STREAM), connect: to `ports` alone, where the kernel can see to that (6.7) */
    SANDBOX_POLL = 1024,        /* poll (libcurl looks at a socket by it) */
    SANDBOX_UNIX_STREAM = 2048, /* socket(AF_UNIX; SOCK_STREAM), connect */
    SANDBOX_BIND = 4096,       /* bind, to a source address (remote, where sources are set) */
    SANDBOX_PREAD = 256,       /* pread64 and fstat on a descriptor that was handed over */
};

struct sandbox {
    uid_t uid;
    gid_t gid;
    const char *root;     /* directory to make the root, NULL: none */
    bool keep_setuid;     /* keep CAP_SETUID and CAP_SETGID */
    bool keep_read_any;   /* keep CAP_DAC_READ_SEARCH: files of others may be read, where Landlock allows it (tlsmgr) */
    bool landlock;        /* only `paths`; false: no Landlock (local's spawner, whose workers write as any user). SANDBOX_EXEC counts either way */
    struct {
        char path[256];   /* a path that does not exist, or can't be reached, is left out */
        unsigned access;
    } paths[SANDBOX_PATHS];
    size_t path_count;
    unsigned calls;
    uint16_t ports[SANDBOX_PORTS];
    size_t port_count;
    uint64_t open_files;  /* RLIMIT_NOFILE */
    uint64_t file_size;   /* RLIMIT_FSIZE; 0: no file may grow. No limit if the log or stderr is a file */
};

/* A path beyond SANDBOX_PATHS or longer than it may be makes sandbox_enter() fail. */
void sandbox_path(struct sandbox *, const char *path, unsigned access);
/* The directory of a file (which may come later, or be replaced by a new one), once for all files in it. */
void sandbox_directory_of(struct sandbox *, const char *file, unsigned access);
/* A port for SANDBOX_STREAM_TO, once; one too many makes sandbox_enter() fail. */
void sandbox_port(struct sandbox *, uint16_t port);
/* Where the C library asks for users and groups, and what it does there. Its modules must be loaded before. */
void sandbox_user_database(struct sandbox *);
int sandbox_enter(const struct sandbox *, bool unprivileged, struct error *);

/* For a child of a program with keep_setuid: becomes the user for good. A change from one ordinary user to another keeps capabilities, so
 * that setresuid() alone is not enough: this gives up the groups, the gid, the uid and all capabilities, and proves that there is no way
 * back. Root is refused, and the filter of SANDBOX_FORK kills for trying. -1: the child must end. */
int sandbox_become(uid_t uid, gid_t gid, const gid_t *groups, size_t n, struct error *);
/* Then, when it has opened the one directory it works in: below that it may read and write files, and nowhere else from now on. -1: there is
 * none, and it may reach no file at all. */
int sandbox_confine(int directory, const char *path, struct error *);

/* All programs that have a user of their own, by their short names, in the order in which numbers count up; ended by NULL. */
extern const char *const sandbox_programs[];
/* The user of a program: `users` in the configuration is a prefix ("postino-") or a first number ("64500"). -1: no such user. */
int sandbox_user(const char *users, const char *program, uid_t *uid, gid_t *gid, struct error *);
/* For who listens on a socket that all of the host may connect to: a program of ours that was taken over must not. To be called before the
 * sandbox, and not where all have one user. sts is not barred: it may have mail to send. */
void sandbox_bar_programs(const char *users);
bool sandbox_is_barred(uid_t uid);

#endif
