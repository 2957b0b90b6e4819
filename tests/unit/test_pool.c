/* pool: things of their own, zeroed, and nothing kept when all are given back. */
#include "qmgr/pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct thing {
    uint64_t number, zero[13];
};

#ifndef POSTINO_SANITIZER
static size_t resident(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%*u %lu", &pages), 1);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

#endif

static void fill(struct pool *pool, struct thing **things, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        things[i] = pool_new(pool);
        assert_non_null(things[i]);
        assert_true((uintptr_t)things[i] % 8 == 0);
        for (size_t j = 0; j < sizeof things[i]->zero / 8; j++)
            assert_true(things[i]->zero[j] == 0);
        things[i]->number = i;
        things[i]->zero[12] = 1;
    }
}

static void things_are_zeroed_and_nobody_elses(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct pool pool = POOL_OF(struct thing);
    struct thing **things = calloc(N, sizeof *things);
    assert_non_null(things);
    fill(&pool, things, N);
    for (size_t i = 0; i < N; i += 2) {
        assert_int_equal(things[i]->number, i);
        pool_free(&pool, things[i]);
    }
    for (size_t i = 0; i < N; i += 2) {
        fill(&pool, &things[i], 1);
        things[i]->number = i;
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(things[i]->number, i);
        pool_free(&pool, things[i]);
    }
    free(things);
}

static void memory_goes_back(void **state)
{
    (void)state;
#ifndef POSTINO_SANITIZER
    enum { N = 300000 };
    struct pool pool = POOL_OF(struct thing);
    struct thing **things = calloc(N, sizeof *things);
    assert_non_null(things);
    for (size_t i = 0; i < N; i++)
        things[i] = (struct thing *)things;
    size_t before = resident();
    fill(&pool, things, N);
    size_t full = resident() - before;
    assert_true(full < N * sizeof(struct thing) * 102 / 100 && full > N * sizeof(struct thing) * 98 / 100);
    for (size_t i = 0; i < N; i++)
        pool_free(&pool, things[i]);
    assert_true(resident() < before + ((size_t)2 << 20));
    free(things);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(things_are_zeroed_and_nobody_elses), cmocka_unit_test(memory_goes_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
