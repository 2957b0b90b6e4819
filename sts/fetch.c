#include "sts/fetch.h"

#include "common/buf.h"
#include "common/httpsurl.h"
#include "common/log.h"
#include "sts/policy.h"

#include <curl/curl.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#define IGNORED_MOST ((size_t)64 << 10)

struct fetch {
    CURL *easy;
    struct curl_slist *resolve, *headers;
    struct buf text;
    bool too_long, posts;
    size_t ignored; /* octets of an answer */
    char why[CURL_ERROR_SIZE];
    fetch_fn *done;
    void *arg;
};

/* What libcurl wants to know of one socket. */
struct watch {
    struct event *event;
};

static struct {
    struct event_base *base;
    CURLM *multi;
    struct event *timer;
    char *authorities;
    long milliseconds;
} self;

/* ---- libcurl on libevent --------------------------------------------------------------------------------------------------------- */

static void finish(struct fetch *f, const char *why, bool unproved)
{
    f->done(&(struct fetched){buf_span(&f->text), why, unproved}, f->arg);
    fetch_cancel(f);
}

static const char *judge(const struct fetch *f, CURLcode result)
{
    long status = 0;
    char *type = NULL;
    if (f->too_long)
        return "it is too long";
    if (result != CURLE_OK && f->ignored <= IGNORED_MOST)
        return f->why[0] ? f->why : curl_easy_strerror(result);
    curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(f->easy, CURLINFO_CONTENT_TYPE, &type);
    if (f->posts)
        return status / 100 == 2 ? NULL : "the answer is no 2xx";
    if (status != 200)
        return "the answer is not 200 OK";
    if (!type || strncasecmp(type, "text/plain", 10) != 0 || (type[10] && !strchr("; \t", type[10])))
        return "it is not of the type text/plain";
    return NULL;
}

static void look_for_finished(void)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(self.multi, &left))) {
        struct fetch *f = NULL;
        CURLcode result = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &f);
        finish(f, judge(f, result), result == CURLE_PEER_FAILED_VERIFICATION);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    int running;
    curl_multi_socket_action(self.multi, CURL_SOCKET_TIMEOUT, 0, &running);
    look_for_finished();
}

static void on_socket(evutil_socket_t fd, short what, void *arg)
{
    (void)arg;
    int running, action = (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);
    curl_multi_socket_action(self.multi, fd, action, &running);
    look_for_finished();
}

static int set_timer(CURLM *multi, long milliseconds, void *arg)
{
    (void)multi, (void)arg;
    if (milliseconds < 0)
        return event_del(self.timer);
    return event_add(self.timer, &(struct timeval){.tv_sec = milliseconds / 1000, .tv_usec = milliseconds % 1000 * 1000});
}

static void forget_watch(struct watch *w)
{
    if (w->event)
        event_free(w->event);
    free(w);
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    (void)easy, (void)arg;
    struct watch *w = known;
    short events = (short)((what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0) | EV_PERSIST);
    if (what == CURL_POLL_REMOVE) {
        if (w)
            forget_watch(w);
        return curl_multi_assign(self.multi, fd, NULL) == CURLM_OK ? 0 : -1;
    }
    if (!w && !(w = calloc(1, sizeof *w)))
        return -1;
    if (w->event)
        event_free(w->event);
    w->event = event_new(self.base, fd, events, on_socket, NULL);
    curl_multi_assign(self.multi, fd, w);
    return w->event && event_add(w->event, NULL) == 0 ? 0 : -1;
}

/* ---- one exchange ---------------------------------------------------------------------------------------------------------------- */

static size_t take(char *data, size_t one, size_t n, void *arg)
{
    struct fetch *f = arg;
    (void)one;      /* is 1 */
    if (f->posts) { /* what a server has to say about a report is nobody's concern, and must not keep us busy */
        f->ignored += n;
        return f->ignored <= IGNORED_MOST ? n : 0;
    }
    f->too_long = n > STS_TEXT_MOST - f->text.len;
    if (f->too_long)
        return 0;
    buf_add(&f->text, data, n);
    return f->text.failed ? 0 : n;
}

static bool tell_addresses(struct fetch *f, const char *host, struct span addresses)
{
    struct buf text = BUF_EMPTY(4096);
    f->resolve = httpsurl_resolve(host, 443, addresses, &text) ? curl_slist_append(NULL, buf_text(&text)) : NULL;
    buf_free(&text);
    return f->resolve && curl_easy_setopt(f->easy, CURLOPT_RESOLVE, f->resolve) == CURLE_OK;
}

static bool set_options(struct fetch *f, const char *url)
{
    CURL *c = f->easy;
    return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, self.milliseconds) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CAINFO, self.authorities) == CURLE_OK && curl_easy_setopt(c, CURLOPT_CAPATH, NULL) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) == CURLE_OK && curl_easy_setopt(c, CURLOPT_WRITEDATA, f) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->why) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PRIVATE, f) == CURLE_OK;
}

static bool set_post(struct fetch *f, struct span body)
{
    static const char *const lines[] = {"Content-Type: application/tlsrpt+gzip", "Expect:"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct curl_slist *more = curl_slist_append(f->headers, lines[i]);
        if (!more)
            return false;
        f->headers = more;
    }
    f->posts = true;
    return curl_easy_setopt(f->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.n) == CURLE_OK &&
           curl_easy_setopt(f->easy, CURLOPT_POSTFIELDS, body.p) == CURLE_OK &&
           curl_easy_setopt(f->easy, CURLOPT_HTTPHEADER, f->headers) == CURLE_OK;
}

static struct fetch *begin(const char *url, const char *host, struct span addresses, const struct span *body, fetch_fn *done, void *arg)
{
    struct fetch *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    *f = (struct fetch){.easy = curl_easy_init(), .text = BUF_EMPTY(STS_TEXT_MOST), .done = done, .arg = arg};
    if (f->easy && tell_addresses(f, host, addresses) && set_options(f, url) && (!body || set_post(f, *body)) &&
        curl_multi_add_handle(self.multi, f->easy) == CURLM_OK)
        return f;
    fetch_cancel(f);
    return NULL;
}

struct fetch *fetch_start(const char *domain, struct span addresses, fetch_fn *done, void *arg)
{
    char host[300], url[400];
    snprintf(host, sizeof host, "mta-sts.%s", domain);
    snprintf(url, sizeof url, "https://%s/.well-known/mta-sts.txt", host);
    return begin(url, host, addresses, NULL, done, arg);
}

struct fetch *fetch_post(const char *url, const char *host, struct span addresses, struct span body, fetch_fn *done, void *arg)
{
    return begin(url, host, addresses, &body, done, arg);
}

void fetch_cancel(struct fetch *f)
{
    if (!f)
        return;
    if (f->easy) {
        curl_multi_remove_handle(self.multi, f->easy);
        curl_easy_cleanup(f->easy);
    }
    curl_slist_free_all(f->resolve);
    curl_slist_free_all(f->headers);
    buf_free(&f->text);
    free(f);
}

int fetch_setup(struct event_base *base, const char *authorities, uint64_t seconds, struct error *error)
{
    self.base = base;
    self.milliseconds = (long)seconds * 1000;
    self.timer = evtimer_new(base, on_timer, NULL);
    self.authorities = strdup(authorities);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(self.multi = curl_multi_init()) || !self.timer || !self.authorities)
        return error_set(error, "libcurl can't be set up");
    curl_multi_setopt(self.multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    curl_multi_setopt(self.multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(self.multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, 64L);
    return 0;
}
