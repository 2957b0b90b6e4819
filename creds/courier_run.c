#include "creds/courier_run.h"

#include "common/file.h"
#include "common/log.h"
#include "creds/courier.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    CURLM *multi;
    struct curl_blob authorities;
    struct courier_order order;
    struct courier_report report;
    char why[CURL_ERROR_SIZE];
    bool too_long;
} self;

__attribute__((noreturn)) static void die(const char *why)
{
    log_error("the process that fetches tokens: %s", why);
    log_flush();
    _exit(70); /* EX_SOFTWARE */
}

/* ---- memory: what libcurl gives back is wiped, as it had secrets ------------------------------------------------------------------- */

static void wipe_free(void *p)
{
    if (p)
        explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *wipe_realloc(void *p, size_t n)
{
    size_t had = p ? malloc_usable_size(p) : 0;
    void *to = malloc(n);
    if (to && p) {
        memcpy(to, p, had < n ? had : n);
        wipe_free(p);
    }
    return to;
}

/* ... and so is what OpenSSL has decrypted for it. */
static CURLcode on_tls(CURL *curl, void *context, void *arg)
{
    (void)curl, (void)arg;
    SSL_CTX_set_options(context, SSL_OP_CLEANSE_PLAINTEXT);
    return CURLE_OK;
}

/* ---- one POST -------------------------------------------------------------------------------------------------------------------- */

/* libcurl would open the file again for each connection, and here are no files. */
static void load_authorities(const char *path)
{
    struct buf pem = BUF_EMPTY((size_t)8 << 20);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || !file_read(fd, &pem) || !pem.len)
        die("tls { authorities } can't be read; install ca-certificates, or name another file");
    close(fd);
    self.authorities = (struct curl_blob){.data = pem.data, .len = pem.len, .flags = CURL_BLOB_NOCOPY};
}

static size_t take(char *data, size_t one, size_t n, void *arg)
{
    (void)one, (void)arg; /* one is 1 */
    struct courier_report *r = &self.report;
    self.too_long = n > sizeof r->text - r->size;
    if (self.too_long)
        return 0;
    memcpy(r->text + r->size, data, n);
    r->size += (uint32_t)n;
    return n;
}

static bool set_options(CURL *c, struct curl_slist *resolve)
{
    const struct courier_order *o = &self.order;
    return curl_easy_setopt(c, CURLOPT_URL, o->url) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)o->size) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDS, o->body) == CURLE_OK && curl_easy_setopt(c, CURLOPT_RESOLVE, resolve) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT, (long)COURIER_SECONDS) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CAINFO_BLOB, &self.authorities) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_CAPATH, NULL) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_FORBID_REUSE, 1L) == CURLE_OK && curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_ERRORBUFFER, self.why) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK;
}

static CURLcode perform(CURL *c)
{
    CURLcode result = CURLE_FAILED_INIT;
    int running = 1, left;
    if (curl_multi_add_handle(self.multi, c) != CURLM_OK)
        return result;
    while (running && curl_multi_perform(self.multi, &running) == CURLM_OK && running)
        curl_multi_poll(self.multi, NULL, 0, 1000, NULL);
    const CURLMsg *m = curl_multi_info_read(self.multi, &left);
    if (m && m->msg == CURLMSG_DONE)
        result = m->data.result;
    curl_multi_remove_handle(self.multi, c);
    return result;
}

static void tell_why(const char *why)
{
    self.report.status = 0;
    self.report.size = (uint32_t)strnlen(why, 300);
    memcpy(self.report.text, why, self.report.size);
}

static void carry(void)
{
    struct curl_slist *resolve = self.order.resolve[0] ? curl_slist_append(NULL, self.order.resolve) : NULL;
    CURL *c = curl_easy_init();
    long status = 0;
    self.why[0] = '\0';
    self.too_long = false;
    CURLcode result = c && set_options(c, resolve) ? perform(c) : CURLE_OUT_OF_MEMORY;
    if (result == CURLE_OK && curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status > 0)
        self.report.status = (uint32_t)status;
    else
        tell_why(self.too_long ? "the answer is too long" : self.why[0] ? self.why : curl_easy_strerror(result));
    curl_easy_cleanup(c);
    curl_slist_free_all(resolve);
}

static bool take_order(int fd)
{
    struct courier_order *o = &self.order;
    size_t head = offsetof(struct courier_order, body);
    ssize_t n;
    do
        n = recv(fd, o, sizeof *o, 0);
    while (n < 0 && errno == EINTR);
    return n >= (ssize_t)head && o->size == (size_t)n - head && !o->url[sizeof o->url - 1] && !o->resolve[sizeof o->resolve - 1];
}

void courier_run(int fd, const char *authorities, const struct sandbox *box, bool unprivileged)
{
    struct error error;
    load_authorities(authorities);
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wipe_free, wipe_realloc, strdup, calloc) != CURLE_OK ||
        !(self.multi = curl_multi_init()))
        die("libcurl can't be set up");
    if (sandbox_enter(box, unprivileged, &error) != 0)
        die(error.text);
    if (send(fd, "", 1, MSG_NOSIGNAL) != 1)
        _exit(0);
    while (take_order(fd)) {
        self.report.status = self.report.size = 0;
        carry();
        size_t n = offsetof(struct courier_report, text) + self.report.size;
        bool sent = send(fd, &self.report, n, MSG_NOSIGNAL) == (ssize_t)n;
        explicit_bzero(&self.order, sizeof self.order);
        explicit_bzero(&self.report, n);
        if (!sent)
            break;
    }
    _exit(0);
}
