#include "creds/login.h"

#include "common/log.h"
#include "common/sasl.h"
#include "common/secretfile.h"

#include <stdlib.h>

static struct {
    struct login *v;
    size_t n;
} self;

/* The password's mechanisms, or the token's, unless some are named. */
static unsigned mechanisms_of(const struct settings_login *s)
{
    unsigned set = 0;
    for (size_t i = 0; i < s->mechanisms.n; i++)
        set |= sasl_mechanism(span_of(s->mechanisms.v[i]));
    return set ? set : *s->token_url ? SASL_TOKEN : SASL_ALL & ~(unsigned)SASL_TOKEN;
}

static int read_files(struct login *l, struct error *error)
{
    const struct settings_login *s = l->settings;
    if ((*s->secret || !*s->token_url) && secretfile_read(s->secret, &l->secret, error) < 0)
        return -1;
    return *s->token_url ? token_open(l, error) : 0;
}

static void read_one(struct login *l, const struct settings_login *s)
{
    struct error error;
    l->settings = s;
    l->allowed = mechanisms_of(s);
    if (read_files(l, &error) == 0)
        return;
    memcpy(l->broken, error.text, sizeof l->broken);
    log_error("login \"%s\": %s; its mail waits", s->title, error.text);
}

void logins_read(const struct settings *s)
{
    self.v = calloc(s->login_count + 1, sizeof *self.v);
    if (!self.v)
        log_die("out of memory for logins");
    for (self.n = 0; self.n < s->login_count; self.n++)
        read_one(&self.v[self.n], &s->logins[self.n]);
}

struct login *login_find(struct span title)
{
    for (size_t i = 0; i < self.n; i++)
        if (span_equal(title, span_of(self.v[i].settings->title)))
            return &self.v[i];
    return NULL;
}
