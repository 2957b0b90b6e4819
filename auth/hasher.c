#include "auth/hasher.h"

#include "common/log.h"

#include <crypt.h>
#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define STACK ((size_t)512 << 10)

struct hasher_job {
    TAILQ_ENTRY(hasher_job) line; /* waiting or finished; under the lock */
    LIST_ENTRY(hasher_job) here;  /* ours from here on: no thread looks at these */
    hasher_done_fn *done;         /* NULL: abandoned */
    void *arg;
    uint64_t client;
    bool waits; /* under the lock */
    bool right; /* the thread's, until it is finished */
    struct passwd_work work;
    size_t size;
    char password[PASSWORD_MOST];
};

TAILQ_HEAD(line, hasher_job);

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct line waiting, finished;
    int event;
    LIST_HEAD(, hasher_job) here;
    size_t count;
} self = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER, .event = -1};

static void free_job(struct hasher_job *j)
{
    LIST_REMOVE(j, here);
    self.count--;
    explicit_bzero(j, sizeof *j);
    free(j);
}

/* ---- the threads ----------------------------------------------------------------------------------------------------------------- */

static struct hasher_job *next_job(void)
{
    struct hasher_job *j;
    pthread_mutex_lock(&self.lock);
    while (!(j = TAILQ_FIRST(&self.waiting)))
        pthread_cond_wait(&self.more, &self.lock);
    TAILQ_REMOVE(&self.waiting, j, line);
    j->waits = false;
    pthread_mutex_unlock(&self.lock);
    return j;
}

static void finish(struct hasher_job *j)
{
    pthread_mutex_lock(&self.lock);
    TAILQ_INSERT_TAIL(&self.finished, j, line);
    pthread_mutex_unlock(&self.lock);
    eventfd_write(self.event, 1);
}

static void *run(void *scratch)
{
    for (;;) {
        struct hasher_job *j = next_job();
        j->right = passwd_right(&j->work, span_make(j->password, j->size), scratch);
        finish(j);
    }
    return NULL;
}

/* ---- the event loop's side ------------------------------------------------------------------------------------------------------- */

static struct hasher_job *take_finished(void)
{
    pthread_mutex_lock(&self.lock);
    struct hasher_job *j = TAILQ_FIRST(&self.finished);
    if (j)
        TAILQ_REMOVE(&self.finished, j, line);
    pthread_mutex_unlock(&self.lock);
    return j;
}

static void on_finished(evutil_socket_t fd, short what, void *arg)
{
    eventfd_t n;
    (void)what, (void)arg;
    (void)eventfd_read((int)fd, &n);
    for (struct hasher_job *j; (j = take_finished());) {
        hasher_done_fn *done = j->done;
        void *whose = j->arg;
        bool right = j->right;
        free_job(j);
        if (done)
            done(right, whose);
    }
}

static bool has_share(uint64_t client)
{
    const struct hasher_job *j;
    size_t n = 0;
    LIST_FOREACH(j, &self.here, here)
    n += j->client == client;
    return n < HASHER_SHARE;
}

struct hasher_job *hasher_start(const struct passwd_work *work, struct span password, uint64_t client, hasher_done_fn *done, void *arg)
{
    bool may = self.count < HASHER_LINE && has_share(client) && password.n <= PASSWORD_MOST;
    struct hasher_job *j = may ? calloc(1, sizeof *j) : NULL;
    if (!j)
        return NULL;
    *j = (struct hasher_job){.done = done, .arg = arg, .client = client, .waits = true, .work = *work, .size = password.n};
    if (password.n)
        memcpy(j->password, password.p, password.n);
    LIST_INSERT_HEAD(&self.here, j, here);
    self.count++;
    pthread_mutex_lock(&self.lock);
    TAILQ_INSERT_TAIL(&self.waiting, j, line);
    pthread_cond_signal(&self.more);
    pthread_mutex_unlock(&self.lock);
    return j;
}

/* One that is being tried stays until it is done, and counts. */
void hasher_abandon(struct hasher_job *j)
{
    pthread_mutex_lock(&self.lock);
    bool waits = j->waits;
    if (waits)
        TAILQ_REMOVE(&self.waiting, j, line);
    pthread_mutex_unlock(&self.lock);
    j->done = NULL;
    if (waits)
        free_job(j);
}

static unsigned processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 2;
    return n < 2 ? 2 : n > HASHER_MOST ? HASHER_MOST : (unsigned)n;
}

/* They get no signals: these are the event loop's. */
static void start_threads(unsigned n)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < n; i++) {
        pthread_t thread;
        struct crypt_data *scratch = calloc(1, sizeof *scratch);
        if (!scratch || pthread_create(&thread, &attributes, run, scratch) != 0)
            log_die("no threads at start, to try passwords");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

void hasher_open(struct event_base *base)
{
    TAILQ_INIT(&self.waiting);
    TAILQ_INIT(&self.finished);
    self.event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct event *event = self.event < 0 ? NULL : event_new(base, self.event, EV_READ | EV_PERSIST, on_finished, NULL);
    if (!event || event_add(event, NULL) != 0)
        log_die("out of memory at start");
    start_threads(processors());
}
