/* postino spool: the spool of a Postino that is stopped. Opens it, takes its lock, and becomes the user to whom it belongs. */
#include "admin/cmd_spool.h"
#include "qmgr/spool_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static const struct action {
    const char *name, *full;
    int (*run)(const struct spool_command *);
    const char *options; /* that it has: d(irectory) j(son) l(ive) n (dry-run) t(o) */
    bool ids, writes;
} actions[] = {
    {.name = "check", .full = "spool check", .run = spool_check, .options = "cdjl"},
    {.name = "repair", .full = "spool repair", .run = spool_repair, .options = "cdjn", .writes = true},
    {.name = "dump", .full = "spool dump", .run = spool_dump, .options = "cdlt", .ids = true},
};

static int usage(void)
{
    (void)fprintf(stderr, "usage: postino spool check [--directory DIR] [--json] [--live]\n"
                          "       postino spool repair [--directory DIR] [--json] [--dry-run]\n"
                          "       postino spool dump [--directory DIR] [--live] [--to DIR] [ID...]\n");
    return EX_USAGE;
}

/* ---- the spool --------------------------------------------------------------------------------------------------- */

static int open_spool(struct spool_command *c, struct stat *st)
{
    c->directory = open(c->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->directory >= 0 && fstat(c->directory, st) == 0)
        return EX_OK;
    if (errno == EACCES)
        return admin_fail(EX_NOPERM, c->name, "%s: %s; do it as root, or as the user to whom it belongs", c->path, strerror(errno));
    return admin_fail(SPOOL_NOT_LOOKED_AT, c->name, "%s: %s; --directory names the spool", c->path, strerror(errno));
}

/* Where dump writes. The owner of the spool will do that, so a new directory is given to it. */
static int open_target(struct spool_command *c, const struct stat *owner)
{
    if (mkdir(c->to, 0700) == 0 && geteuid() == 0 && lchown(c->to, owner->st_uid, owner->st_gid) != 0)
        return admin_fail(EX_CANTCREAT, c->name, "%s can't be given to user %u: %s", c->to, owner->st_uid, strerror(errno));
    c->to_directory = open(c->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (c->to_directory < 0)
        return admin_fail(EX_CANTCREAT, c->name, "%s: %s; name a directory for the messages", c->to, strerror(errno));
    return EX_OK;
}

/* From here on nothing that a file of the spool could bring about is done as root, and all that is made belongs to the right user. */
static int become(const struct spool_command *c, const struct stat *owner)
{
    (void)umask(077);
    if (geteuid() != 0 || owner->st_uid == 0)
        return EX_OK;
    if (setgroups(0, NULL) != 0 || setresgid(owner->st_gid, owner->st_gid, owner->st_gid) != 0 ||
        setresuid(owner->st_uid, owner->st_uid, owner->st_uid) != 0)
        return admin_fail(EX_OSERR, c->name, "can't become user %u, to whom the spool belongs: %s", owner->st_uid, strerror(errno));
    return EX_OK;
}

static int lock(const struct spool_command *c, bool writes)
{
    struct error error;
    if (c->live) { /* without a lock: a qmgr that starts meanwhile must not be kept out */
        (void)fprintf(
            stderr, "postino %s: %s may be in use: what is being written now may look incomplete, and what is being removed may be shown\n",
            c->name, c->path);
        return EX_OK;
    }
    if (spool_lock(c->directory, writes ? SPOOL_LOCK_ALONE : SPOOL_LOCK_TO_READ, &error) == 0)
        return EX_OK;
    return admin_fail(SPOOL_NOT_LOOKED_AT, c->name, "%s: %s%s", c->path, error.text, writes ? "" : ", or look at it as it is with --live");
}

static int run(struct spool_command *c, const struct action *action)
{
    struct stat owner = {0};
    int status = open_spool(c, &owner);
    if (status == EX_OK)
        status = lock(c, action->writes);
    if (status == EX_OK && c->to)
        status = open_target(c, &owner);
    if (status == EX_OK)
        status = become(c, &owner);
    if (status == EX_OK)
        status = action->run(c);
    if (c->to_directory >= 0)
        close(c->to_directory);
    if (c->directory >= 0)
        close(c->directory);
    return status;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static const struct action *find(const char *name)
{
    for (size_t i = 0; name && i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(actions[i].name, name) == 0)
            return &actions[i];
    }
    return NULL;
}

/* False: there is none such. */
static bool option(struct admin *a, struct spool_command *c, const struct action *action, int letter)
{
    if (letter == '?' || !strchr(action->options, letter))
        return false;
    if (letter == 'c')
        a->path = optarg;
    else if (letter == 'd')
        c->path = optarg;
    else if (letter == 't')
        c->to = optarg;
    else
        *(letter == 'j' ? &c->json : letter == 'l' ? &c->live : &c->dry_run) = true;
    return true;
}

int cmd_spool(struct admin *a, int argc, char **argv)
{
    static const struct option options[] = {
        {"directory", required_argument, NULL, 'd'}, {"json", no_argument, NULL, 'j'},     {"live", no_argument, NULL, 'l'},
        {"dry-run", no_argument, NULL, 'n'},         {"to", required_argument, NULL, 't'}, {0}};
    const struct action *action = argc > 1 ? find(argv[1]) : NULL;
    struct spool_command c = {.directory = -1, .to_directory = -1};
    int letter;
    if (!action)
        return usage();
    while ((letter = getopt_long(argc - 1, argv + 1, "c:d:jlnt:", options, NULL)) != -1) {
        if (!option(a, &c, action, letter))
            return usage();
    }
    if (!action->ids && optind < argc - 1)
        return usage();
    if (!c.path && admin_settings(a) != EX_OK)
        return admin_fail(EX_CONFIG, action->full, "the spool's place is not known: mend the configuration, or name it with --directory");
    if (!c.path)
        c.path = a->settings->directory_spool;
    c.name = action->full;
    c.ids = argv + 1 + optind;
    return run(&c, action);
}
