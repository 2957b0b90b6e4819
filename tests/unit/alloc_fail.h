/* alloc_fail: one allocation of the code under test fails. For tests that are linked with ALLOC_FAIL (qmgr/files.mk): what libc and cmocka allocate for
 * themselves is not counted. */
#ifndef POSTINO_TEST_ALLOC_FAIL_H
#define POSTINO_TEST_ALLOC_FAIL_H

/* 0: none fails; n: the nth from now on. Before a fork: the count is shared with the child. */
void alloc_fail(unsigned at);
unsigned alloc_count(void); /* since then */

/* Runs `work` in a child of its own, with its own allocations failing at `at`. */
enum child_end { CHILD_DONE, CHILD_DIED /* log_die() */, CHILD_CRASHED /* a signal, or what it was told was wrong */, CHILD_HUNG };
enum child_end alloc_fail_child(unsigned at, void (*work)(void));
void child_must(int condition); /* in the child; in the parent an assertion */

#endif
