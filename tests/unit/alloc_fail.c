#include "tests/unit/alloc_fail.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HANGS   60 /* seconds */
#define IS_BAD  3
#define IS_DONE 0

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
char *__real_strdup(const char *);
char *__real_strndup(const char *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
char *__wrap_strdup(const char *);
char *__wrap_strndup(const char *, size_t);

static struct shared {
    atomic_uint count, at;
} * shared;
static bool in_child;

void alloc_fail(unsigned at)
{
    if (!shared)
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    atomic_store(&shared->count, 0);
    atomic_store(&shared->at, at);
}

unsigned alloc_count(void)
{
    return atomic_load(&shared->count);
}

static bool fails_now(void)
{
    return in_child && atomic_fetch_add(&shared->count, 1) + 1 == atomic_load(&shared->at);
}

void *__wrap_malloc(size_t n)
{
    return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails_now() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
    return fails_now() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
    return fails_now() ? NULL : __real_strndup(s, n);
}

void child_must(int condition)
{
    if (!in_child)
        assert_true(condition);
    else if (!condition)
        _exit(IS_BAD);
}

enum child_end alloc_fail_child(unsigned at, void (*work)(void))
{
    int status = 0;
    alloc_fail(at);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0});
        signal(SIGABRT, SIG_DFL);
        signal(SIGSEGV, SIG_DFL);
        alarm(HANGS);
        in_child = true;
        work();
        _exit(IS_DONE);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGABRT ? CHILD_DIED : WTERMSIG(status) == SIGALRM ? CHILD_HUNG : CHILD_CRASHED;
    return WEXITSTATUS(status) == IS_DONE ? CHILD_DONE : CHILD_CRASHED;
}
