/* postino password: makes a line of the password file from a password that it asks for. */
#include "admin/admin.h"
#include "auth/secret.h"

#include <crypt.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <termios.h>
#include <unistd.h>

#define ITERATIONS 10000
#define LEAST      4096 /* RFC 7677 4 */

struct wish {
    bool crypt; /* a crypt(3) hash, for PLAIN and LOGIN alone */
    uint32_t iterations;
    const char *name;
};

static bool read_line(struct buf *to)
{
    int c;
    while ((c = getchar()) != EOF && c != '\n')
        buf_add_char(to, (char)c);
    return !to->failed && (c == '\n' || to->len > 0);
}

/* From a terminal without showing it; else the first line of standard input. */
static bool read_password(struct buf *to)
{
    struct termios seen, hidden;
    bool terminal = tcgetattr(STDIN_FILENO, &seen) == 0;
    if (terminal) {
        hidden = seen;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        fputs("Password: ", stderr);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
    }
    bool ok = buf_reserve(to, PASSWORD_MOST) && read_line(to);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &seen);
        fputc('\n', stderr);
    }
    return ok;
}

static int make_crypt(struct span password, struct buf *out, struct error *error)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    char *text = password.p ? strndup(password.p, password.n) : NULL;
    const char *hash = text && crypt_gensalt_rn("$6$", 0, NULL, 0, setting, sizeof setting) ? crypt(text, setting) : NULL;
    bool ok = hash && *hash != '*' && password.n && strlen(text) == password.n;
    if (ok)
        buf_add_text(out, hash);
    if (text)
        explicit_bzero(text, password.n);
    free(text);
    return ok ? 0 : error_set(error, "the password is empty, or can't be hashed");
}

static bool parse(int argc, char **argv, struct wish *wish)
{
    int option;
    while ((option = getopt(argc, argv, "ci:")) != -1) {
        char *end = NULL;
        unsigned long n = option == 'i' ? strtoul(optarg, &end, 10) : 0;
        if (option == 'i' && *optarg && !*end && n >= LEAST && n <= SECRET_ITERATIONS_MOST)
            wish->iterations = (uint32_t)n;
        else if (option == 'c')
            wish->crypt = true;
        else
            return false;
    }
    wish->name = optind < argc ? argv[optind++] : NULL;
    return optind == argc && !(wish->name && (!*wish->name || *wish->name == '#' || strpbrk(wish->name, ":\n")));
}

static int print_line(const struct wish *wish, struct span password)
{
    struct buf name = BUF_EMPTY(NAME_MOST + 1), secret = BUF_EMPTY(1024);
    struct error error;
    int status = EX_OK;
    if (wish->name && !secret_prepare(span_of(wish->name), NAME_MOST, &name))
        status = admin_fail(EX_DATAERR, "password", "%s is not a name that a login can have", wish->name);
    else if ((wish->crypt ? make_crypt(password, &secret, &error) : secret_make(password, wish->iterations, &secret, &error)) != 0)
        status = admin_fail(EX_DATAERR, "password", "%s", error.text);
    else
        printf("%s%s%s\n", buf_text(&name), wish->name ? ":" : "", buf_text(&secret));
    buf_free(&name);
    secret_wipe(&secret);
    return status;
}

int cmd_password(struct admin *a, int argc, char **argv)
{
    (void)a;
    struct wish wish = {.iterations = ITERATIONS};
    struct buf password = BUF_EMPTY(PASSWORD_MOST);
    if (!parse(argc, argv, &wish))
        return admin_fail(EX_USAGE, "password", "usage: postino password [-c | -i ITERATIONS] [NAME], iterations from %d to %d", LEAST,
                          SECRET_ITERATIONS_MOST);
    int status = read_password(&password) ? print_line(&wish, buf_span(&password))
                                          : admin_fail(EX_DATAERR, "password", "no password, or one longer than %d octets", PASSWORD_MOST);
    secret_wipe(&password);
    return status;
}
