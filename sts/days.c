#include "sts/days.h"

#include "common/file.h"
#include "common/log.h"
#include "common/program.h"
#include "sts/alive.h"
#include "sts/told.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#define FRONT      ".tlsrpt."
#define NEW        ".new.tlsrpt."
#define TOLD       "told" /* sts/told.h */
#define DAYS_KEPT  3      /* days that are over */
#define FILES_MOST 16     /* of today, by processes that are gone */
#define GONE_MOST  1024
#define NAME       80

static struct {
    int directory, lock;
    uint64_t start; /* of this process, microseconds: its files' name */
    struct tally *today;
    bool dirty;
    struct tally *over[DAYS_KEPT]; /* days that could not be put down at their end; NULL: none */
    uint64_t left_out;
} self = {.directory = -1, .lock = -1};

/* ---- files ----------------------------------------------------------------------------------------------------------------------- */

struct name {
    uint64_t day, start;
    bool told;
};

static void file_name(uint64_t day, uint64_t start, char out[NAME])
{
    snprintf(out, NAME, FRONT "%" PRIu64 ".%" PRIu64, day, start);
}

static bool take_number(const char **p, uint64_t *out)
{
    char *end;
    if (**p < '0' || **p > '9')
        return false;
    errno = 0;
    *out = strtoull(*p, &end, 10);
    *p = end;
    return errno == 0;
}

static bool parse_name(const char *text, struct name *out)
{
    const char *p = text + sizeof FRONT - 1;
    *out = (struct name){0};
    if (strncmp(text, FRONT, sizeof FRONT - 1) != 0 || !take_number(&p, &out->day) || *p++ != '.')
        return false;
    out->told = strcmp(p, TOLD) == 0;
    return out->told || (take_number(&p, &out->start) && *p == '\0');
}

/* Calls `each` for every file of ours. */
static void list(void (*each)(const char *file, const struct name *, void *arg), void *arg)
{
    int fd = openat(self.directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    struct name name;
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, NEW, sizeof NEW - 1) == 0)
            each(e->d_name, NULL, arg);
        else if (parse_name(e->d_name, &name))
            each(e->d_name, &name, arg);
    }
    closedir(d);
}

/* Adds a file's counts to the tally of its day. */
static void add_file(const char *file, struct tally *t)
{
    struct buf text = BUF_EMPTY(TALLY_FILE);
    struct tally *kept = file_read_at(self.directory, file, &text) ? tally_read(buf_span(&text)) : NULL;
    if (kept && tally_day(kept) == tally_day(t))
        tally_merge(t, kept);
    else
        log_warning("%s in directory { sts } can't be read, or is damaged: its counts of TLS sessions are in no report", file);
    tally_free(kept);
    buf_free(&text);
}

/* ---- today ----------------------------------------------------------------------------------------------------------------------- */

static bool save(struct tally *t)
{
    char name[NAME], new[NAME];
    struct buf text = BUF_EMPTY(TALLY_FILE);
    tally_write(t, &text);
    file_name(tally_day(t), self.start, name);
    snprintf(new, sizeof new, NEW "%" PRIu64, self.start);
    errno = ENOMEM;
    bool good = !text.failed && alive_tell(self.start) == 0 && file_replace(self.directory, name, new, buf_span(&text)) == 0;
    if (!good)
        log_error("counts of TLS sessions can't be kept in directory { sts }: %s; %s", strerror(errno),
                  program_draining() ? "they are lost, if that is still so when this process ends" : "trying again in a minute");
    buf_free(&text);
    return good;
}

static void lose(struct tally **t)
{
    log_error("counts of TLS sessions with %zu domains are lost, as they could not be put down in directory { sts }", tally_domains(*t));
    tally_free(*t);
    *t = NULL;
}

/* Until it can be put down, or is older than what is kept. One that drains keeps nothing: its successor sends the reports, from the files. */
static void keep(struct tally *t)
{
    size_t at = 0;
    for (size_t i = 0; i < DAYS_KEPT && self.over[at]; i++)
        if (!self.over[i] || tally_day(self.over[i]) < tally_day(self.over[at]))
            at = i;
    if (self.over[at])
        lose(&self.over[at]);
    self.over[at] = t;
    if (program_draining())
        lose(&self.over[at]);
}

static void save_over(void)
{
    for (size_t i = 0; i < DAYS_KEPT; i++) {
        if (!self.over[i])
            continue;
        if (save(self.over[i])) {
            tally_free(self.over[i]);
            self.over[i] = NULL;
        } else if (program_draining())
            lose(&self.over[i]);
    }
}

void days_save(void)
{
    save_over();
    if (self.today && self.dirty)
        self.dirty = !save(self.today);
    if (!self.today || tally_day(self.today) == program_now() / DAYS_SECONDS)
        return;
    if (self.left_out)
        log_warning("%" PRIu64 " counts of TLS sessions were left out, as there were too many domains or policies", self.left_out);
    self.left_out = 0;
    if (self.dirty)
        keep(self.today);
    else
        tally_free(self.today);
    self.dirty = false;
    self.today = NULL;
}

void days_add(const struct tally_sessions *s)
{
    if (self.today && tally_day(self.today) != program_now() / DAYS_SECONDS)
        days_save();
    if (!self.today && !(self.today = tally_new(program_now() / DAYS_SECONDS)))
        log_die("out of memory for counts");
    if (tally_add(self.today, s))
        self.dirty = true;
    else
        self.left_out++;
}

/* ---- the start ------------------------------------------------------------------------------------------------------------------- */

struct survey {
    uint64_t today;
    size_t n;
    uint64_t gone[GONE_MOST]; /* starts of those who are gone and have a file of today; more of them another time */
};

static void survey_one(const char *file, const struct name *name, void *arg)
{
    struct survey *s = arg;
    bool of_use = name && name->day <= s->today && name->day + DAYS_KEPT >= s->today;
    if (!of_use)
        unlinkat(self.directory, file, 0);
    else if (name->day == s->today && !name->told && name->start != self.start && s->n < GONE_MOST && !alive_is(name->start))
        s->gone[s->n++] = name->start;
}

/* Too many files of today are of a program that was killed too often: their counts go on in one, and in theirs if that can't be written. */
static void join(const struct survey *s)
{
    char name[NAME];
    self.today = tally_new(s->today);
    for (size_t i = 0; self.today && i < s->n; i++) {
        file_name(s->today, s->gone[i], name);
        add_file(name, self.today);
    }
    if (!self.today || !save(self.today)) {
        tally_free(self.today);
        self.today = NULL;
        return;
    }
    for (size_t i = 0; i < s->n; i++) {
        file_name(s->today, s->gone[i], name);
        unlinkat(self.directory, name, 0);
    }
}

void days_start(void)
{
    struct survey s = {.today = program_now() / DAYS_SECONDS};
    list(survey_one, &s);
    if (s.n >= FILES_MOST)
        join(&s);
}

void days_setup(int directory)
{
    self.directory = directory;
    self.start = program_now_us();
    alive_setup(directory);
    told_setup(directory);
}

/* ---- days that are over ---------------------------------------------------------------------------------------------------------- */

struct oldest {
    uint64_t today, day;
    bool found;
};

static void find_oldest(const char *file, const struct name *name, void *arg)
{
    (void)file;
    struct oldest *o = arg;
    if (!name || name->told || name->day >= o->today || (o->found && name->day >= o->day))
        return;
    o->day = name->day;
    o->found = true;
}

/* What is kept in memory is more than what this process's file has. */
static struct tally **find_over(uint64_t day)
{
    for (size_t i = 0; i < DAYS_KEPT; i++)
        if (self.over[i] && tally_day(self.over[i]) == day)
            return &self.over[i];
    return NULL;
}

static void add_one(const char *file, const struct name *name, void *arg)
{
    struct tally *t = arg;
    if (name && !name->told && name->day == tally_day(t) && !(name->start == self.start && find_over(name->day)))
        add_file(file, t);
}

bool days_oldest(uint64_t *day)
{
    struct oldest o = {.today = program_now() / DAYS_SECONDS};
    list(find_oldest, &o);
    for (size_t i = 0; i < DAYS_KEPT; i++)
        if (self.over[i])
            find_oldest(NULL, &(struct name){.day = tally_day(self.over[i])}, &o);
    *day = o.day;
    return o.found;
}

struct tally *days_read(uint64_t day)
{
    struct tally *t = tally_new(day);
    if (!t)
        log_die("out of memory for counts");
    list(add_one, t);
    struct tally **over = find_over(day);
    if (over)
        tally_merge(t, *over);
    return t;
}

static void forget_one(const char *file, const struct name *name, void *arg)
{
    const uint64_t *day = arg;
    if (name && name->day == *day)
        unlinkat(self.directory, file, 0);
}

void days_forget(uint64_t day)
{
    list(forget_one, &day);
    struct tally **over = find_over(day);
    if (!over)
        return;
    tally_free(*over);
    *over = NULL;
}

int days_lock(void)
{
    if (self.lock >= 0)
        return 0;
    self.lock = openat(self.directory, FRONT "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (self.lock >= 0 && flock(self.lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    days_unlock();
    return -1;
}

void days_unlock(void)
{
    if (self.lock >= 0)
        close(self.lock);
    self.lock = -1;
}
