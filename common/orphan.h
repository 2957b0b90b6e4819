/* orphan: a program of a Postino whose master was killed. It ends by itself when it sees that, so that a new one can wait for what it still has:
 *
 *     struct orphan_wait wait = {0};
 *     while (take() != 0)
 *         if (!orphan_wait(&wait, pid of who has it, "the port"))
 *             return an error;
 *
 * A program is known by its name and its parent's in /proc. Where that can't be seen (hidepid), or who has a port can't be (that takes root with
 * CAP_SYS_PTRACE), nobody is found, and nobody is waited for. */
#ifndef POSTINO_ORPHAN_H
#define POSTINO_ORPHAN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct orphan_wait {
    uint64_t until;
    unsigned nobody;
};

/* True: a tenth of a second later; look again. False: `holder` is no orphan, or ten seconds have passed. 0: nobody was found; so it is for a moment
 * when who had it ends between two looks, and no longer. The first wait for an orphan is logged; `what` is words of ours. */
bool orphan_wait(struct orphan_wait *, pid_t holder, const char *what);

#endif
