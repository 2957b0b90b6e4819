#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/map.h"
#include "common/mapcheck.h"
#include "common/mapsource.h"

#include <db.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/test_map.XXXXXX");
    return mkdtemp(directory) == NULL || chdir(directory) < 0;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

static void write_file(const char *name, const void *p, size_t n)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static char spec[128];

static const char *spec_of(const char *kind, const char *name)
{
    snprintf(spec, sizeof spec, "%s:%s/%s", kind, directory, name);
    return spec;
}

static struct buf warnings;
static struct error error;

static long build(const char *kind, const char *name, enum map_form form, const char *text)
{
    write_file(name, text, strlen(text));
    buf_free(&warnings);
    error.text[0] = '\0';
    return map_build(spec_of(kind, name), form, &warnings, &error);
}

/* What the map says of a key: its value, "(absent)" or "(failed)". */
static const char *look_in(struct map *map, const char *key)
{
    static struct buf value;
    buf_free(&value);
    enum map_result result = map_lookup(map, span_of(key), &value, &error);
    return result == MAP_FOUND ? buf_text(&value) : result == MAP_ABSENT ? "(absent)" : "(failed)";
}

static const char *look(const char *kind, const char *name, const char *key)
{
    struct map *map = map_open(spec_of(kind, name), &error);
    assert_non_null(map);
    const char *said = look_in(map, key);
    map_free(map);
    return said;
}

static void plain_maps_of_both_kinds_are_built_and_read(void **state)
{
    (void)state;
    const char *text = "# people\nann@Example.ORG  people/ann\n\nbob\tpeople/bob \n  and more\n# between\n cont\n@example.org rest\n";
    const char *kinds[] = {"hash", "btree"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(build(kinds[i], "plain", MAP_PLAIN, text), 3);
        assert_string_equal(look(kinds[i], "plain", "ANN@example.org"), "people/ann");
        assert_string_equal(look(kinds[i], "plain", "bob"), "people/bob and more cont");
        assert_string_equal(look(kinds[i], "plain", "@example.org"), "rest");
        assert_string_equal(look(kinds[i], "plain", "carol"), "(absent)");
        assert_string_equal(look(kinds[i], "plain", ""), "(absent)");
    }
}

static void aliases_are_built_with_their_odd_forms(void **state)
{
    (void)state;
    const char *text = "postmaster: root\nRoot:\tann ,\n  bob@example.net\n\"John \\\"D\\\" Doe\": john\nlist : :include:/etc/list\n"
                       "prog: \"|/bin/filter a,b\", /var/file, ann\nme: \\me, \"x y\"@example.net, Words <w@example.net>\n";
    assert_int_equal(build("hash", "aliases", MAP_ALIASES, text), 6);
    assert_string_equal(look("hash", "aliases", "root"), "ann , bob@example.net");
    assert_string_equal(look("hash", "aliases", "john \"d\" doe"), "john");
    assert_string_equal(look("hash", "aliases", "prog"), "\"|/bin/filter a,b\", /var/file, ann");
    assert_non_null(strstr(buf_text(&warnings), "line 5: :include: is not supported"));
    assert_non_null(strstr(buf_text(&warnings), "line 6: a command (|) is not supported"));
    assert_non_null(strstr(buf_text(&warnings), "line 6: a file (/path) is not supported"));
}

static void targets_are_split_at_commas_outside_of_quotes(void **state)
{
    (void)state;
    struct span list = span_of(
        " ann, \"|/bin/x -a \\\"b\\\", c\" ,, \\me, /a b, \"x, y\"@example.net, Mr. X <x@example.org>, :include:/f, bad one, \"open");
    struct {
        const char *to;
        enum alias_kind kind;
    } want[] = {{"ann", ALIAS_NAME},
                {"/bin/x -a \\\"b\\\", c", ALIAS_COMMAND},
                {"me", ALIAS_LITERAL},
                {"/a b", ALIAS_FILE},
                {"\"x, y\"@example.net", ALIAS_NAME},
                {"x@example.org", ALIAS_NAME},
                {"/f", ALIAS_INCLUDE},
                {"bad one", ALIAS_BROKEN},
                {"\"open", ALIAS_BROKEN}};
    struct span to;
    enum alias_kind kind;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_true(alias_target_next(&list, &to, &kind));
        assert_int_equal(to.n, strlen(want[i].to));
        assert_memory_equal(to.p, want[i].to, to.n);
        assert_int_equal(kind, want[i].kind);
    }
    assert_false(alias_target_next(&list, &to, &kind));
}

static void a_broken_source_is_refused_with_its_line_and_the_old_map_stays(void **state)
{
    (void)state;
    struct {
        enum map_form form;
        const char *text, *says;
    } cases[] = {
        {MAP_PLAIN, "a 1\nb\n", "line 2: a key without a value"},
        {MAP_PLAIN, "a 1\n# x\nb 2\nA 3\n", "line 4: \"a\" is there twice, first in line 1"},
        {MAP_PLAIN, "  a 1\n", "line 1: begins with a blank"},
        {MAP_PLAIN, "a 1\nb \001\n", "line 2: control"},
        {MAP_ALIASES, "root: ann\nbob carol\n", "line 2: no colon"},
        {MAP_ALIASES, "root:\n", "line 1: an alias without a target"},
        {MAP_ALIASES, "root: ,,\n", "line 1: an alias without a target"},
        {MAP_ALIASES, "\"root: ann\n", "line 1: the quote"},
        {MAP_ALIASES, "root: \"ann\n", "line 1: a target that cannot be read"},
        {MAP_ALIASES, ": ann\n", "line 1: an empty name"},
        {MAP_ALIASES, "a@b: ann\n", "line 1: an alias is a local name"},
    };
    assert_int_equal(build("hash", "kept", MAP_PLAIN, "old value\n"), 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(build("hash", "kept", cases[i].form, cases[i].text), -1);
        assert_non_null(strstr(error.text, cases[i].says));
        assert_non_null(strstr(error.text, "/kept: "));
        assert_string_equal(look("hash", "kept", "old"), "value");
    }
    unlink("kept");
    assert_int_equal(map_build(spec_of("hash", "kept"), MAP_PLAIN, NULL, &error), -1);
    assert_int_equal(system("test $(ls | grep -c new) = 0"), 0);
}

static void the_mode_of_a_map_is_kept(void **state)
{
    (void)state;
    struct stat st;
    umask(077);
    assert_int_equal(build("hash", "mode", MAP_PLAIN, "a b\n"), 1);
    assert_int_equal(stat("mode.db", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(chmod("mode.db", 0640), 0);
    assert_int_equal(build("hash", "mode", MAP_PLAIN, "a c\n"), 1);
    assert_int_equal(stat("mode.db", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    umask(022);
}

static void a_reader_sees_the_new_map(void **state)
{
    (void)state;
    assert_int_equal(build("hash", "fresh", MAP_PLAIN, "a 1\n"), 1);
    struct map *map = map_open(spec_of("hash", "fresh"), &error);
    assert_string_equal(look_in(map, "a"), "1");
    assert_int_equal(build("hash", "fresh", MAP_PLAIN, "a 2\n"), 1);
    usleep(2100000);
    assert_string_equal(look_in(map, "a"), "2");
    unlink("fresh.db");
    usleep(2100000);
    assert_string_equal(look_in(map, "a"), "(failed)");
    assert_non_null(strstr(error.text, "fresh.db: cannot be opened: No such file"));
    assert_int_equal(build("hash", "fresh", MAP_PLAIN, "a 3\n"), 1);
    usleep(2100000);
    assert_string_equal(look_in(map, "a"), "3");
    map_free(map);
}

/* As Postfix and sendmail write them: the NUL counts; and without checksums. */
static void make_foreign(const char *name, DBTYPE type, u_int32_t flags, int count)
{
    DB *db;
    unlink(name);
    assert_int_equal(db_create(&db, NULL, 0), 0);
    assert_int_equal(db->set_flags(db, flags), 0);
    assert_int_equal(db->open(db, NULL, name, NULL, type, DB_CREATE, 0644), 0);
    for (int i = 0; i < count; i++) {
        char key[32], value[3000];
        snprintf(key, sizeof key, "key%d", i);
        memset(value, 'v', sizeof value);
        if (i % 40 != 7)
            snprintf(value, sizeof value, "value %d", i);
        value[sizeof value - 1] = '\0';
        DBT k = {.data = key, .size = (u_int32_t)strlen(key) + 1}, v = {.data = value, .size = (u_int32_t)strlen(value) + 1};
        assert_int_equal(db->put(db, NULL, &k, &v, 0), 0);
    }
    assert_int_equal(db->close(db, 0), 0);
}

static void maps_of_other_programs_are_read(void **state)
{
    (void)state;
    make_foreign("foreign.db", DB_HASH, 0, 500);
    assert_string_equal(look("hash", "foreign", "Key333"), "value 333");
    assert_int_equal(strlen(look("hash", "foreign", "key7")), 2999);
    assert_string_equal(look("hash", "foreign", "key500"), "(absent)");
    make_foreign("foreign.db", DB_BTREE, 0, 5000);
    assert_string_equal(look("btree", "foreign", "key4333"), "value 4333");
    make_foreign("foreign.db", DB_BTREE, 0, 0);
    assert_string_equal(look("btree", "foreign", "key"), "(absent)");
}

static void what_is_no_map_is_an_error(void **state)
{
    (void)state;
    char junk[8192];
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = (char)(i * 7 + i / 13);
    assert_string_equal(look("hash", "missing", "a"), "(failed)");
    write_file("junk.db", "", 0);
    assert_string_equal(look("hash", "junk", "a"), "(failed)");
    write_file("junk.db", junk, sizeof junk);
    assert_string_equal(look("hash", "junk", "a"), "(failed)");
    assert_string_equal(look("btree", "junk", "a"), "(failed)");
    make_foreign("other.db", DB_BTREE, 0, 10);
    assert_string_equal(look("hash", "other", "key1"), "(failed)");
    assert_non_null(strstr(error.text, "other.db: not a Berkeley DB hash file"));
    make_foreign("dup.db", DB_HASH, DB_DUP, 10);
    assert_string_equal(look("hash", "dup", "key1"), "(failed)");
    mkdir("dir.db", 0755);
    assert_string_equal(look("hash", "dir", "a"), "(failed)");
    assert_int_equal(mkfifo("fifo.db", 0644), 0);
    assert_string_equal(look("hash", "fifo", "a"), "(failed)");
    assert_null(map_open("dbm:/x", &error));
    assert_null(map_open("hash:relative", &error));
    assert_null(map_open("hash:/", &error));
}

static size_t read_whole(const char *name, unsigned char *to, size_t most)
{
    int fd = open(name, O_RDONLY);
    ssize_t n = read(fd, to, most);
    close(fd);
    assert_true(n > 0);
    return (size_t)n;
}

static unsigned char image[1 << 20], mutant[1 << 20];

static void a_file_cut_short_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(build("hash", "whole", MAP_PLAIN, "a 1\nb 2\n"), 2);
    size_t n = read_whole("whole.db", image, sizeof image);
    for (size_t cut = 0; cut < n; cut += 511) {
        write_file("cut.db", image, cut);
        assert_string_equal(look("hash", "cut", "a"), "(failed)");
    }
    write_file("cut.db", image, n);
    assert_string_equal(look("hash", "cut", "a"), "1");
}

static void mutate(size_t n)
{
    memcpy(mutant, image, n);
    size_t window = (size_t)random() % n;
    for (long i = random() % 8; i >= 0; i--) {
        size_t at = random() % 2 ? (size_t)random() % n : (window + (size_t)random() % 64) % n;
        mutant[at] = (unsigned char)(random() % 3 ? random() : 0xff);
    }
}

/* An offset of a page's index that points behind the item before it, and a chain of pages that leads back to its own beginning. */
static void structures_that_lie_are_refused(void **state)
{
    (void)state;
    make_foreign("lies.db", DB_HASH, 0, 10);
    size_t n = read_whole("lies.db", image, sizeof image);
    unsigned char *page = image + 4096;
    while (page[25] != 13)
        page += 4096;
    assert_true(page < image + n);
    uint16_t first;
    memcpy(&first, page + 26, sizeof first);
    memcpy(page + 28, &first, sizeof first);
    write_file("lies.db", image, n);
    assert_string_equal(look("hash", "lies", "key1"), "(failed)");
    assert_non_null(strstr(error.text, "an item lies outside of it"));
    make_foreign("lies.db", DB_HASH, 0, 10);
    read_whole("lies.db", image, sizeof image);
    uint32_t itself = (uint32_t)((page - image) / 4096);
    memcpy(page + 12, &itself, sizeof itself);
    memcpy(page + 16, &itself, sizeof itself);
    write_file("lies.db", image, n);
    assert_string_equal(look("hash", "lies", "key1"), "(failed)");
}

/* In a child of its own: 0 when all answers could be, 1 when a wrong one was given. */
static int answers(const char *kind, const char *name, int count, bool exact)
{
    struct map *map = map_open(spec_of(kind, name), &error);
    int status = 0;
    for (int i = 0; i < count && map != NULL; i += 7) {
        char key[32], want[32];
        snprintf(key, sizeof key, "key%d", i);
        snprintf(want, sizeof want, "value %d", i);
        const char *said = look_in(map, key);
        if (exact && i % 40 != 7 && strcmp(said, want) != 0 && strcmp(said, "(failed)") != 0)
            status = 1;
    }
    map_free(map);
    return status;
}

static void mutants_do_no_harm(const char *kind, DBTYPE type, u_int32_t flags)
{
    make_foreign("source.db", type, flags, 300);
    size_t n = read_whole("source.db", image, sizeof image);
    for (int round = 0; round < 150; round++) {
        mutate(n);
        write_file("mutant.db", mutant, n);
        pid_t child = fork();
        if (child == 0) {
            alarm(100);
            _exit(answers(kind, "mutant", 300, flags == DB_CHKSUM));
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void damaged_maps_never_crash_nor_hang(void **state)
{
    (void)state;
    srandom(20);
    mutants_do_no_harm("hash", DB_HASH, 0);
    mutants_do_no_harm("btree", DB_BTREE, 0);
}

static void damage_in_our_own_maps_is_an_error_and_never_an_absent_key(void **state)
{
    (void)state;
    srandom(21);
    mutants_do_no_harm("hash", DB_HASH, DB_CHKSUM);
    mutants_do_no_harm("btree", DB_BTREE, DB_CHKSUM);
    assert_int_equal(build("hash", "sums", MAP_PLAIN, "alpha 1\nbeta 2\n"), 2);
    size_t n = read_whole("sums.db", image, sizeof image);
    unsigned char *at = memmem(image, n, "alpha", 5);
    assert_non_null(at);
    *at = 'x';
    write_file("sums.db", image, n);
    assert_string_equal(look("hash", "sums", "alpha"), "(failed)");
    assert_non_null(strstr(error.text, "its checksum is wrong"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_maps_of_both_kinds_are_built_and_read),
        cmocka_unit_test(aliases_are_built_with_their_odd_forms),
        cmocka_unit_test(targets_are_split_at_commas_outside_of_quotes),
        cmocka_unit_test(a_broken_source_is_refused_with_its_line_and_the_old_map_stays),
        cmocka_unit_test(the_mode_of_a_map_is_kept),
        cmocka_unit_test(a_reader_sees_the_new_map),
        cmocka_unit_test(maps_of_other_programs_are_read),
        cmocka_unit_test(what_is_no_map_is_an_error),
        cmocka_unit_test(a_file_cut_short_is_an_error),
        cmocka_unit_test(structures_that_lie_are_refused),
        cmocka_unit_test(damaged_maps_never_crash_nor_hang),
        cmocka_unit_test(damage_in_our_own_maps_is_an_error_and_never_an_absent_key),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
