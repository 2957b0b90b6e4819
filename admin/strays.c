#include "admin/strays.h"

#include "admin/queue_client.h"
#include "qmgr/limits.h"

#include <stdio.h>
#include <sysexits.h>

struct strays {
    const struct settings *settings;
    unsigned long jobs;
};

static bool count(const struct record_site *site, void *arg)
{
    struct strays *s = arg;
    if (limits_is_stray(s->settings, site->name))
        s->jobs += site->jobs;
    return true;
}

void strays_tell(const struct settings *settings)
{
    struct strays s = {.settings = settings};
    struct queue_client q;
    struct error ignored;
    int status = queue_open(&q, settings->directory_run, &ignored);
    if (status == EX_OK)
        status = queue_sites(&q, count, &s, &ignored);
    queue_close(&q);
    if (status == EX_OK && s.jobs > 0)
        (void)printf(LIMITS_STRAYS "\n", s.jobs);
}
