#include "auth/response.h"

static struct span skip(struct span s, size_t n)
{
    return span_make(s.p + n, s.n - n);
}

static bool starts(struct span s, const char *with)
{
    return s.n >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0;
}

/* The part up to the next `end`, and what is behind that. */
static bool take(struct span *rest, char end, struct span *part)
{
    const char *at = rest->n ? memchr(rest->p, end, rest->n) : NULL;
    if (!at)
        return false;
    *part = span_make(rest->p, (size_t)(at - rest->p));
    *rest = skip(*rest, part->n + 1);
    return true;
}

bool response_plain(struct span in, struct span *identity, struct span *user, struct span *password)
{
    if (!take(&in, '\0', identity) || !take(&in, '\0', user))
        return false;
    *password = in;
    return user->n && in.n && !memchr(in.p, '\0', in.n);
}

bool response_gs2(struct span in, struct response_gs2 *out)
{
    struct span flag, identity;
    if (!take(&in, ',', &flag) || !take(&in, ',', &identity) || !flag.n)
        return false;
    *out = (struct response_gs2){.flag = *flag.p, .rest = in};
    if (*flag.p == 'p') {
        if (!starts(flag, "p=") || flag.n == 2)
            return false;
        out->binding = skip(flag, 2);
    } else if (flag.n != 1 || (*flag.p != 'n' && *flag.p != 'y')) {
        return false;
    }
    if (!identity.n)
        return true;
    if (!starts(identity, "a=") || identity.n == 2)
        return false;
    out->identity = skip(identity, 2);
    return true;
}

bool response_unescape(struct span name, struct buf *out)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c == '=') {
            struct span escape = skip(name, i);
            if (!starts(escape, "=2C") && !starts(escape, "=3D"))
                return false;
            c = name.p[i + 1] == '2' ? ',' : '=';
            i += 2;
        }
        buf_add_char(out, c);
    }
    return !out->failed;
}

bool response_scram_user(struct span bare, struct buf *out)
{
    struct span name;
    return take(&bare, ',', &name) && starts(name, "n=") && name.n > 2 && response_unescape(skip(name, 2), out);
}

bool response_xoauth2_user(struct span in, struct span *user)
{
    struct span part;
    if (!take(&in, '\1', &part) || !starts(part, "user=") || part.n == 5)
        return false;
    *user = skip(part, 5);
    return true;
}
