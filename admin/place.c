#include "admin/place.h"

#include "conf/parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

static int first_error(const char *file, const struct report *r, struct error *error)
{
    struct span lines = buf_span(&r->errors);
    const char *end = lines.n ? memchr(lines.p, '\n', lines.n) : NULL;
    int n = end ? (int)(end - lines.p) : (int)lines.n;
    if (n == 0)
        return error_set(error, "%s cannot be read", file);
    return error_set(error, "%.*s", n, lines.p);
}

struct settings *place_settings(const char *who, const char *file, struct error *error)
{
    struct report report = {0};
    struct settings *s = parse_file(file, PARSE_WHAT_IS_GOOD, &report);
    if (report.error_count > 0)
        (void)first_error(file, &report, error);
    if (s && report.run_in_doubt) {
        settings_free(s);
        s = NULL;
    } else if (s && report.error_count > 0) {
        (void)fprintf(stderr, "%s: %s\n%s: %s has %zu error%s; going on, its directory { run } is %s\n", who, error->text, who, file,
                      report.error_count, report.error_count > 1 ? "s" : "", s->directory_run);
    }
    report_free(&report);
    return s;
}

static int read_place(const char *who, const char *file, char *to, size_t room, struct error *error)
{
    struct settings *s = place_settings(who, file, error);
    if (!s)
        return -1;
    (void)snprintf(to, room, "%s", s->directory_run);
    settings_free(s);
    return 0;
}

int place_run(const char *who, const char *file, char *to, size_t room, struct error *error)
{
    static const char usual[] = SYSCONFDIR "/postino/postino.conf";
    if (!file)
        file = getenv("POSTINO_CONF");
    if (file && *file)
        return read_place(who, file, to, room, error) < 0 ? EX_CONFIG : EX_OK;
    if (access(usual, R_OK) != 0) {
        (void)snprintf(to, room, "%s", PLACE_DEFAULT);
    } else if (read_place(who, usual, to, room, error) < 0) {
        (void)snprintf(to, room, "%s", PLACE_DEFAULT);
        (void)fprintf(stderr, "%s: %s\n%s: going on with " PLACE_DEFAULT "\n", who, error->text, who);
    }
    return EX_OK;
}

static int refused(const char *path, int error_number, struct error *error)
{
    if (error_number == EACCES || error_number == EPERM) {
        (void)error_set(error, "%s: %s; ask the administrator of this host", path, strerror(error_number));
        return EX_NOPERM;
    }
    (void)error_set(error, "%s: %s; is Postino running?", path, strerror(error_number));
    return EX_TEMPFAIL;
}

int place_connect(const char *run, const char *name, int *fd, struct error *error)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int n = snprintf(to.sun_path, sizeof to.sun_path, "%s/%s", run, name);
    if (n < 0 || (size_t)n >= sizeof to.sun_path) {
        (void)error_set(error, "%s/%s: the path is too long for a socket; set a shorter directory { run = }", run, name);
        return EX_CONFIG;
    }
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*fd < 0 || connect(*fd, (const struct sockaddr *)&to, sizeof to) < 0) {
        int error_number = errno;
        if (*fd >= 0)
            close(*fd);
        return refused(to.sun_path, error_number, error);
    }
    return EX_OK;
}
