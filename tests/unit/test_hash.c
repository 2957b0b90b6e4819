/* hash: a walk in pieces meets all that is there all the time, whatever comes and goes between them. ids: each of them once, and in order. */
#include "qmgr/hash.h"
#include "qmgr/ids.h"
#include "qmgr/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

struct queue queue;

#define N 20000

static struct node {
    struct hash_node node;
    unsigned met;
} nodes[N];
static struct hash table;

static void setup(size_t count)
{
    hash_free(&table);
    hash_init(&table);
    for (size_t i = 0; i < N; i++)
        nodes[i] = (struct node){0};
    for (size_t i = 0; i < count; i++)
        hash_add(&table, &nodes[i].node, 1000000 + 3 * i);
}

static void meet(struct hash_node *n, void *arg)
{
    (void)arg;
    HASH_OWNER(n, struct node, node)->met++;
}

static void a_walk_meets_all_once(void **state)
{
    (void)state;
    for (size_t slots = 1; slots < N * 4; slots = slots * 5 + 2) {
        size_t at = 0, pieces = 1;
        setup(10000);
        while (hash_walk(&table, &at, slots, meet, NULL))
            pieces++;
        for (size_t i = 0; i < N; i++)
            assert_int_equal(nodes[i].met, i < 10000);
        assert_int_equal(pieces, (table.mask + slots) / slots);
    }
}

/* The first half stays; half of the rest goes, as many come, and the table grows twice. */
static void a_walk_meets_all_that_stay(void **state)
{
    (void)state;
    size_t at = 0, gone = 3000, come = 5000, mask;
    setup(come);
    mask = table.mask;
    while (hash_walk(&table, &at, 100, meet, NULL)) {
        for (int i = 0; i < 20 && gone < 4000; i++)
            hash_remove(&table, &nodes[gone++].node);
        for (int i = 0; i < 300 && come < N; i++, come++)
            hash_add(&table, &nodes[come].node, 1000000 + 3 * come);
    }
    assert_true(table.mask == mask * 4 + 3 && come == N && gone == 4000);
    for (size_t i = 0; i < 5000; i++) {
        if (i < 3000 || i >= 4000)
            assert_in_range(nodes[i].met, 1, 4);
    }
}

static void (*between)(size_t piece);

bool spool_walk(const struct spool *s, size_t *at, size_t most, void (*each)(uint64_t id, void *arg), void *arg)
{
    (void)s;
    assert_true(most > 0);
    size_t from = *at;
    for (; *at < table.mask + 1 && *at < from + 1000; (*at)++) {
        for (struct hash_node *n = table.slots[*at]; n; n = n->next)
            each(n->key, arg);
    }
    if (between)
        between(from / 1000);
    return *at < table.mask + 1;
}

static void grow(size_t piece)
{
    for (size_t i = 5000 + piece * 2000; i < 7000 + piece * 2000 && i < N; i++)
        hash_add(&table, &nodes[i].node, 1000000 + 3 * i);
}

static void ids_come_in_order_and_once(void **state)
{
    (void)state;
    for (int growing = 0; growing < 2; growing++) {
        uint64_t id, last = 0, of_the_first = 0;
        struct ids *all = ids_new();
        setup(5000);
        between = growing ? grow : NULL;
        while (ids_gather(all)) {
        }
        while (ids_next(all, &id)) {
            assert_true(id > last && id >= 1000000 && (id - 1000000) % 3 == 0);
            last = id;
            of_the_first += id < 1000000 + 3 * 5000;
        }
        assert_int_equal(of_the_first, 5000);
        assert_false(ids_next(all, &id));
        ids_free(all);
    }
}

static void nothing_is_no_id(void **state)
{
    (void)state;
    uint64_t id;
    struct ids *all = ids_new();
    setup(0);
    between = NULL;
    while (ids_gather(all)) {
    }
    assert_false(ids_next(all, &id));
    ids_free(all);
    ids_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_walk_meets_all_once), cmocka_unit_test(a_walk_meets_all_that_stay),
                                       cmocka_unit_test(ids_come_in_order_and_once), cmocka_unit_test(nothing_is_no_id)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hash_free(&table);
    return failed;
}
