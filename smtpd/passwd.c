#include "smtpd/passwd.h"

#include "common/log.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MOST     ((off_t)16 << 20)
#define HASH_MOST     ((size_t)CRYPT_OUTPUT_SIZE)
#define PASSWORD_MOST ((size_t)CRYPT_MAX_PASSPHRASE_SIZE)

/* For who is not there, when the file has no hash at all. */
#define NOBODY "$6$rounds=5000$postino.postino.$"

struct passwd_file {
    char *path;
    char *text;
    size_t size;
    struct stat seen; /* of the file when it was read */
    struct crypt_data scratch;
};

struct passwd_file *passwd_open(const char *path)
{
    struct passwd_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path)))
        log_die("out of memory at start");
    return f;
}

static void forget(struct passwd_file *f)
{
    if (f->text)
        explicit_bzero(f->text, f->size);
    free(f->text);
    f->text = NULL;
    f->size = 0;
    f->seen = (struct stat){0};
}

void passwd_close(struct passwd_file *f)
{
    forget(f);
    free(f->path);
    explicit_bzero(f, sizeof *f);
    free(f);
}

/* ---- file ------------------------------------------------------------------------------------------------------------------------ */

static bool unchanged(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static int check_file(const struct passwd_file *f, const struct stat *st, struct error *error)
{
    if (!S_ISREG(st->st_mode))
        return error_set(error, "password file %s: not a regular file; logins are refused until it is", f->path);
    if (st->st_mode & S_IRWXO)
        return error_set(
            error, "password file %s: everybody may read or change it, so it is not used; chmod o-rwx it, owner or group postino-auth",
            f->path);
    if (st->st_size > FILE_MOST)
        return error_set(error, "password file %s: larger than %lld octets", f->path, (long long)FILE_MOST);
    return 0;
}

static int read_text(struct passwd_file *f, int fd, size_t size, struct error *error)
{
    f->text = malloc(size ? size : 1);
    if (!f->text)
        return error_set(error, "password file %s: out of memory", f->path);
    while (f->size < size) {
        ssize_t n = read(fd, f->text + f->size, size - f->size);
        if (n < 0)
            return error_set(error, "password file %s: %s", f->path, strerror(errno));
        if (n == 0)
            break;
        f->size += (size_t)n;
    }
    return 0;
}

static int refresh_from(struct passwd_file *f, int fd, struct error *error)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(error, "password file %s: %s", f->path, strerror(errno));
    if (check_file(f, &st, error) != 0)
        return -1;
    if (f->text && unchanged(&st, &f->seen))
        return 0;
    forget(f);
    if (read_text(f, fd, (size_t)st.st_size, error) != 0) {
        forget(f);
        return -1;
    }
    f->seen = st;
    return 0;
}

static int refresh(struct passwd_file *f, struct error *error)
{
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_set(error, "password file %s: %s; make it (name:hash, hashes by mkpasswd), readable for postino-auth", f->path,
                         strerror(errno));
    int result = refresh_from(f, fd, error);
    close(fd);
    return result;
}

/* ---- lines ----------------------------------------------------------------------------------------------------------------------- */

static struct span until(struct span s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? span_make(s.p, (size_t)(at - s.p)) : s;
}

/* name:hash, or false: a comment, an empty or a malformed line. */
static bool split(struct span line, struct span *name, struct span *hash)
{
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    *name = until(line, ':');
    if (!name->n || *line.p == '#' || name->n == line.n)
        return false;
    *hash = until(span_make(line.p + name->n + 1, line.n - name->n - 1), ':');
    return hash->n > 0 && hash->n < HASH_MOST;
}

/* The user's hash; or, with false, any hash of the file, so that trying it takes as long. */
static bool find(const struct passwd_file *f, struct span user, struct span *hash)
{
    struct span rest = span_make(f->text, f->size), name, other;
    *hash = span_of(NOBODY);
    bool any = false;
    while (rest.n) {
        struct span line = until(rest, '\n');
        size_t step = line.n < rest.n ? line.n + 1 : line.n;
        rest = span_make(rest.p + step, rest.n - step);
        if (!split(line, &name, &other))
            continue;
        if (span_equal(name, user)) {
            *hash = other;
            return true;
        }
        if (!any && *other.p == '$')
            *hash = other;
        any = any || *other.p == '$';
    }
    return false;
}

/* ---- check ----------------------------------------------------------------------------------------------------------------------- */

static bool equal_in_constant_time(const char *a, struct span b)
{
    if (strlen(a) != b.n)
        return false;
    unsigned char differ = 0;
    for (size_t i = 0; i < b.n; i++)
        differ |= (unsigned char)(a[i] ^ b.p[i]);
    return differ == 0;
}

static bool matches(struct passwd_file *f, struct span password, struct span hash)
{
    char setting[HASH_MOST], key[PASSWORD_MOST];
    if (password.n >= sizeof key || hash.n >= sizeof setting || memchr(password.p, '\0', password.n))
        return false;
    memcpy(setting, hash.p, hash.n);
    setting[hash.n] = '\0';
    memcpy(key, password.p, password.n);
    key[password.n] = '\0';
    const char *made = crypt_r(key, setting, &f->scratch);
    bool yes = made && *made != '*' && equal_in_constant_time(made, hash);
    explicit_bzero(key, sizeof key);
    explicit_bzero(setting, sizeof setting);
    explicit_bzero(&f->scratch, sizeof f->scratch);
    return yes;
}

enum auth_verdict passwd_check(struct passwd_file *f, struct span user, struct span password, struct error *error)
{
    struct span hash;
    if (refresh(f, error) != 0)
        return AUTH_NOT_NOW;
    bool there = find(f, user, &hash);
    bool right = password.n && matches(f, password, hash);
    return there && right ? AUTH_YES : AUTH_NO;
}
