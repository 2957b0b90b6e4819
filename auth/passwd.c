#include "auth/passwd.h"

#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MOST  ((off_t)16 << 20)
#define HASH_MOST  ((size_t)CRYPT_OUTPUT_SIZE)
#define CRYPT_MOST ((size_t)CRYPT_MAX_PASSPHRASE_SIZE)

/* For who is not there, when the file has no hash at all. */
#define NOBODY "$6$rounds=5000$postino.postino.$"

/* For SCRAM in a file without a SCRAM secret. */
#define NOBODY_ITERATIONS 10000
#define NOBODY_SALT       16

struct passwd_file {
    unsigned char seed[32]; /* for made-up salts, as long as the file has no secret of its own to make them from */
    char *path;
    char *text;
    size_t size;
    struct stat seen;         /* of the file when it was read */
    struct span crypt, scram; /* the first of each kind, for those who have none; empty: the file has none */
    bool all_scram;
};

struct passwd_file *passwd_open(const char *path)
{
    struct passwd_file *f = calloc(1, sizeof *f);
    if (!f || !(f->path = strdup(path)) || getrandom(f->seed, sizeof f->seed, 0) != (ssize_t)sizeof f->seed)
        log_die("no memory or no randomness at start");
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
    f->crypt = f->scram = (struct span){0};
    f->all_scram = false;
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

static void survey(struct passwd_file *f);

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
    survey(f);
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

/* name:hash, or false: a comment, an empty or a malformed line. */
static bool split(struct span line, struct span *name, struct span *hash)
{
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (!span_cut(&line, ':', name) || !name->n || *name->p == '#')
        return false;
    *hash = span_before(line, ':');
    return hash->n > 0 && hash->n < HASH_MOST;
}

/* The next entry behind `rest`; false at the end. */
static bool next_entry(struct span *rest, struct span *name, struct span *hash)
{
    while (rest->n) {
        if (split(span_until(rest, '\n'), name, hash))
            return true;
    }
    return false;
}

/* {SHA512-CRYPT}$6$...: the scheme is told by the hash itself. */
static struct span without_scheme(struct span hash)
{
    static const char end[] = "CRYPT}";
    const char *brace = *hash.p == '{' ? memchr(hash.p, '}', hash.n) : NULL;
    size_t n = brace ? (size_t)(brace - hash.p) + 1 : 0;
    if (n < sizeof end || memcmp(hash.p + n - (sizeof end - 1), end, sizeof end - 1) != 0)
        return hash;
    return span_make(hash.p + n, hash.n - n);
}

static void copy_text(char *to, size_t size, struct span text)
{
    size_t n = text.n < size ? text.n : 0;
    if (n)
        memcpy(to, text.p, n);
    to[n] = '\0';
}

/* PASSWD_NONE: locked. */
static enum passwd_own kind_of(struct span hash)
{
    struct secret secret;
    char setting[HASH_MOST];
    if (secret_parse(hash, &secret))
        return PASSWD_SCRAM;
    copy_text(setting, sizeof setting, without_scheme(hash));
    enum passwd_own kind = crypt_checksalt(setting) == CRYPT_SALT_INVALID ? PASSWD_NONE : PASSWD_CRYPT;
    explicit_bzero(setting, sizeof setting);
    return kind;
}

/* Once for each reading of the file. */
static void survey(struct passwd_file *f)
{
    struct span rest = span_make(f->text, f->size), name, hash;
    while (next_entry(&rest, &name, &hash)) {
        enum passwd_own kind = kind_of(hash);
        if (kind == PASSWD_CRYPT && !f->crypt.n)
            f->crypt = without_scheme(hash);
        else if (kind == PASSWD_SCRAM && !f->scram.n)
            f->scram = hash;
    }
    f->all_scram = f->scram.n && !f->crypt.n;
}

/* To the end of the file, wherever the user stands. False: not there. */
static bool find(const struct passwd_file *f, struct span user, struct span *hash)
{
    struct span rest = span_make(f->text, f->size), name, other;
    bool there = false;
    while (next_entry(&rest, &name, &other)) {
        if (!there && span_equal(name, user)) {
            *hash = other;
            there = true;
        }
    }
    return there;
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

static bool matches_crypt(const char *setting, struct span password, struct crypt_data *scratch)
{
    char key[CRYPT_MOST];
    if (password.n >= sizeof key || memchr(password.p, '\0', password.n))
        return false;
    copy_text(key, sizeof key, password);
    const char *made = crypt_r(key, setting, scratch);
    bool yes = made && *made != '*' && equal_in_constant_time(made, span_of(setting));
    explicit_bzero(key, sizeof key);
    explicit_bzero(scratch, sizeof *scratch);
    return yes;
}

int passwd_look(struct passwd_file *f, struct span user, struct passwd_work *work, struct error *error)
{
    struct span hash;
    if (refresh(f, error) != 0)
        return -1;
    work->own = find(f, user, &hash) ? kind_of(hash) : PASSWD_NONE;
    copy_text(work->crypt, sizeof work->crypt, work->own == PASSWD_CRYPT ? without_scheme(hash) : f->crypt);
    copy_text(work->scram, sizeof work->scram, work->own == PASSWD_SCRAM ? hash : f->scram);
    if (!*work->crypt && !*work->scram)
        copy_text(work->crypt, sizeof work->crypt, span_of(NOBODY));
    return 0;
}

bool passwd_right(const struct passwd_work *work, struct span password, struct crypt_data *scratch)
{
    struct secret secret;
    if (!password.n)
        return false;
    bool crypt = *work->crypt && matches_crypt(work->crypt, password, scratch);
    bool scram = secret_parse(span_of(work->scram), &secret) && secret_matches(&secret, password);
    return (work->own == PASSWD_CRYPT && crypt) || (work->own == PASSWD_SCRAM && scram);
}

/* ---- SCRAM ----------------------------------------------------------------------------------------------------------------------- */

bool passwd_all_scram(struct passwd_file *f)
{
    struct error error;
    return refresh(f, &error) == 0 && f->all_scram;
}

static void make_up(const unsigned char *key, size_t key_size, struct span user, char use, size_t n, char *base64)
{
    unsigned char octets[SECRET_SALT_MOST] = {0};
    for (size_t done = 0; done < n; done += SECRET_KEY) {
        struct buf text = BUF_EMPTY(NAME_MOST + 16);
        buf_printf(&text, "%c%zu%.*s", use, done, SPAN_ARG(user));
        HMAC(EVP_sha256(), key, (int)key_size, (const unsigned char *)text.data, text.len, octets + done, NULL);
        buf_free(&text);
    }
    EVP_EncodeBlock((unsigned char *)base64, octets, (int)n);
}

/* The same at every question and after every start, and nothing that a stranger can foretell. */
static void make_up_secret(const struct passwd_file *f, struct span user, struct passwd_scram *out)
{
    struct secret example;
    bool any = secret_parse(f->scram, &example); /* those who are not there look like it */
    const unsigned char *key = any ? (const unsigned char *)example.server.p : f->seed;
    size_t key_size = any ? example.server.n : sizeof f->seed;
    size_t salt = any ? example.salt.n / 4 * 3 - (example.salt.p[example.salt.n - 1] == '=') - (example.salt.p[example.salt.n - 2] == '=')
                      : NOBODY_SALT;
    out->there = false;
    out->iterations = any ? example.iterations : NOBODY_ITERATIONS;
    make_up(key, key_size, user, 'a', salt, out->salt);
    make_up(key, key_size, user, 'b', SECRET_KEY, out->stored);
    make_up(key, key_size, user, 'c', SECRET_KEY, out->server);
}

int passwd_scram(struct passwd_file *f, struct span user, struct passwd_scram *out, struct error *error)
{
    struct span hash;
    struct secret secret;
    if (refresh(f, error) != 0)
        return -1;
    bool there = find(f, user, &hash) && secret_parse(hash, &secret);
    make_up_secret(f, user, out); /* for everybody, so that it takes the same time */
    if (!there)
        return 0;
    out->there = true;
    out->iterations = secret.iterations;
    copy_text(out->salt, sizeof out->salt, secret.salt);
    copy_text(out->stored, sizeof out->stored, secret.stored);
    copy_text(out->server, sizeof out->server, secret.server);
    return 0;
}
