#include "creds/token_store.h"

#include "common/file.h"
#include "creds/token_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define MAGIC      "Postino token 1\n"
#define SUM        32
#define NEW        ".new"
#define LOCK       ".lock"
#define TITLE_MOST 80 /* octets of a file's name; a title has 64 at most */

static int directory = -1, lock = -1;

int token_store_open(const char *path, struct error *error)
{
    directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return error_set(error, "directory { creds = \"%s\" } can't be opened: %s", path, strerror(errno));
    return 0;
}

bool token_store_is_open(void)
{
    return directory >= 0;
}

bool token_store_lock(void)
{
    if (directory < 0)
        return true;
    if (lock < 0)
        lock = openat(directory, LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    return lock < 0 || flock(lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

void token_store_unlock(void)
{
    if (lock >= 0)
        flock(lock, LOCK_UN);
}

/* A login's title has no slash, and behind it comes more, so that none is a directory's name. */
static void name_of(const char *login, char name[TITLE_MOST])
{
    snprintf(name, TITLE_MOST, "%s.token", login);
}

static void add_front(struct span original, struct buf *out)
{
    unsigned char sum[SUM] = {0};
    EVP_Digest(original.p, original.n, sum, NULL, EVP_sha256(), NULL);
    buf_add_text(out, MAGIC);
    for (size_t i = 0; i < SUM; i++)
        buf_printf(out, "%02x", sum[i]);
    buf_add_char(out, '\n');
}

void token_store_read(const char *login, struct span original, struct buf *out)
{
    char name[TITLE_MOST];
    struct buf front = BUF_EMPTY(1024), file = {.limit = 2 * TOKEN_MOST, .secret = true};
    name_of(login, name);
    add_front(original, &front);
    if (directory >= 0 && file_read_at(directory, name, &file) && file.len > front.len && memcmp(file.data, front.data, front.len) == 0)
        buf_add(out, file.data + front.len, file.len - front.len);
    for (size_t i = 0; i < out->len; i++)
        if (out->data[i] <= ' ' || out->data[i] > '~')
            buf_clear(out);
    buf_free(&front);
    buf_free(&file);
}

int token_store_write(const char *login, struct span original, struct span token, struct error *error)
{
    char name[TITLE_MOST];
    struct buf file = {.limit = 2 * TOKEN_MOST, .secret = true};
    int result = 0;
    name_of(login, name);
    add_front(original, &file);
    buf_add_span(&file, token);
    errno = EINVAL;
    if (file.failed || file_replace(directory, name, NEW, buf_span(&file)) != 0)
        result = error_set(error, "the new refresh token of login \"%s\" can't be kept: %s", login, strerror(errno));
    buf_free(&file);
    return result;
}
