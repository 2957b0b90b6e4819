#include "common/map.h"

#include "common/clock.h"

#include "common/mapcheck.h"

#include <db.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEY_MAX    1024 /* a longer key is in no map */
#define LOOK_AGAIN 1    /* seconds between looks at the file */

/*   CLOSED --file is sound--> OPEN --file changed, or an error--> CLOSED
 *   In CLOSED, `why` says what was wrong when it was looked at last. */
struct map {
    DBTYPE type;
    char *path;
    DB *db; /* NULL: CLOSED */
    struct stat seen;
    time_t looked;
    struct error why;
    char *value;
    u_int32_t value_size;
};

/* libdb would write its complaints to stderr; the status says enough. */
static void quiet(const DB_ENV *env, const char *prefix, const char *message)
{
    (void)env;
    (void)prefix;
    (void)message;
}

static bool parse_spec(const char *spec, DBTYPE *type, const char **source)
{
    if (strncmp(spec, "hash:/", 6) == 0) {
        *type = DB_HASH;
        *source = spec + 5;
    } else if (strncmp(spec, "btree:/", 7) == 0) {
        *type = DB_BTREE;
        *source = spec + 6;
    } else {
        return false;
    }
    return (*source)[1] != '\0';
}

struct map *map_open(const char *spec, struct error *error)
{
    const char *source = NULL;
    struct map *map = calloc(1, sizeof *map);
    if (map == NULL || !parse_spec(spec, &map->type, &source) || asprintf(&map->path, "%s.db", source) < 0) {
        free(map);
        error_set(error, "%s is not a map; write hash:/path or btree:/path", spec);
        return NULL;
    }
    map->looked = -LOOK_AGAIN;
    return map;
}

static void close_file(struct map *map)
{
    if (map->db != NULL)
        map->db->close(map->db, DB_NOSYNC);
    map->db = NULL;
}

void map_free(struct map *map)
{
    if (map == NULL)
        return;
    close_file(map);
    free(map->value);
    free(map->path);
    free(map);
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int check_file(struct map *map, struct stat *st)
{
    int fd = open(map->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(&map->why, "cannot be opened: %s", strerror(errno));
    int status = fstat(fd, st) < 0 ? error_set(&map->why, "cannot be looked at: %s", strerror(errno))
                                   : mapcheck(fd, map->type == DB_HASH ? MAPCHECK_HASH : MAPCHECK_BTREE, &map->why);
    close(fd);
    return status;
}

static int open_db(struct map *map, const struct stat *checked)
{
    int fd = -1, status = db_create(&map->db, NULL, 0);
    if (status != 0) {
        map->db = NULL;
        return error_set(&map->why, "cannot be opened: %s", db_strerror(status));
    }
    map->db->set_errcall(map->db, quiet);
    /* Not mapped into memory: a file that some other tool cuts short must be an error, not a SIGBUS. */
    status = map->db->open(map->db, NULL, map->path, NULL, map->type, DB_RDONLY | DB_NOMMAP, 0);
    if (status == 0)
        status = map->db->fd(map->db, &fd);
    struct stat st;
    if (status == 0 && (fstat(fd, &st) < 0 || !same_file(&st, checked)))
        status = EAGAIN;
    if (status == 0)
        return 0;
    close_file(map);
    return error_set(&map->why, "cannot be opened: %s", db_strerror(status));
}

/* Opens what is there now, if it is not what is open. */
static void look(struct map *map)
{
    time_t now = (time_t)(clock_monotonic_us() / 1000000);
    if (now - map->looked < LOOK_AGAIN)
        return;
    map->looked = now;
    struct stat st = {0};
    if (map->db != NULL && stat(map->path, &st) == 0 && same_file(&st, &map->seen))
        return;
    close_file(map);
    if (check_file(map, &st) == 0 && open_db(map, &st) == 0)
        map->seen = st;
}

static int get(struct map *map, char *key, u_int32_t n, DBT *value)
{
    DBT k = {.data = key, .size = n};
    *value = (DBT){.data = map->value, .ulen = map->value_size, .flags = DB_DBT_USERMEM};
    return map->db->get(map->db, NULL, &k, value, 0);
}

/* The buffer grows to what the longest value so far needed. */
static int get_grown(struct map *map, char *key, u_int32_t n, DBT *value)
{
    int status = get(map, key, n, value);
    if (status != DB_BUFFER_SMALL || value->size > MAPCHECK_VALUE_MAX)
        return status;
    char *larger = realloc(map->value, value->size);
    if (larger == NULL)
        return ENOMEM;
    map->value = larger;
    map->value_size = value->size;
    return get(map, key, n, value);
}

static size_t lower(char *to, struct span key)
{
    for (size_t i = 0; i < key.n; i++)
        to[i] = key.p[i] >= 'A' && key.p[i] <= 'Z' ? (char)(key.p[i] | 0x20) : key.p[i];
    to[key.n] = '\0';
    return key.n;
}

static int get_either(struct map *map, struct span key, DBT *value)
{
    char text[KEY_MAX + 1];
    u_int32_t n = (u_int32_t)lower(text, key);
    int status = get_grown(map, text, n, value);
    return status == DB_NOTFOUND ? get_grown(map, text, n + 1, value) : status;
}

static enum map_result failed(struct map *map, struct error *error)
{
    error_set(error, "%s: %s", map->path, map->why.text);
    return MAP_FAILED;
}

enum map_result map_lookup(struct map *map, struct span key, struct buf *value, struct error *error)
{
    look(map);
    if (map->db == NULL)
        return failed(map, error);
    if (key.n == 0 || key.n > KEY_MAX)
        return MAP_ABSENT;
    DBT got;
    int status = get_either(map, key, &got);
    if (status == DB_NOTFOUND)
        return MAP_ABSENT;
    if (status != 0) {
        close_file(map); /* after an error libdb refuses all; the next look opens it anew */
        error_set(&map->why, "damaged or unreadable: %s", db_strerror(status));
        return failed(map, error);
    }
    size_t n = got.size;
    if (n > 0 && ((char *)got.data)[n - 1] == '\0')
        n--;
    buf_add(value, got.data, n);
    if (value->failed)
        return error_set(error, "%s: a value is too long", map->path), MAP_FAILED;
    return MAP_FOUND;
}
