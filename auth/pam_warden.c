#include "auth/pam_warden.h"

#include "common/clock.h"
#include "common/messages.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECKS_MOST 64 /* auth { pam_checks } is no more */

struct check {
    pid_t pid; /* 0: free */
    int pipe;
    uint32_t id;
    uint64_t due; /* monotonic milliseconds */
};

static struct {
    int auth;
    const char *service;
    size_t most;
    unsigned seconds;
    struct check checks[CHECKS_MOST];
} self;

/* ---- child: asks PAM ------------------------------------------------------------------------------------------------------------- */

static int converse(int n, const struct pam_message **messages, struct pam_response **responses, void *arg)
{
    const struct pam_request *r = arg;
    if (n <= 0 || n > PAM_MAX_NUM_MSG || !(*responses = calloc((size_t)n, sizeof **responses)))
        return PAM_BUF_ERR;
    for (int i = 0; i < n; i++) {
        int style = messages[i]->msg_style;
        const char *text = style == PAM_PROMPT_ECHO_OFF ? r->password : style == PAM_PROMPT_ECHO_ON ? r->user : NULL;
        (*responses)[i].resp = text ? strdup(text) : NULL;
    }
    return PAM_SUCCESS;
}

/* Failures are told late by smtpd; no process needs to sleep for that. */
static void no_delay(int result, unsigned microseconds, void *arg)
{
    (void)result, (void)microseconds, (void)arg;
}

static int ask_pam(struct pam_request *r)
{
    union {
        void (*function)(int, unsigned, void *);
        const void *item;
    } delay = {.function = no_delay};
    struct pam_conv conversation = {.conv = converse, .appdata_ptr = r};
    pam_handle_t *pam = NULL;
    int code = pam_start(self.service, r->user, &conversation, &pam);
    if (code != PAM_SUCCESS)
        return code;
    pam_set_item(pam, PAM_FAIL_DELAY, delay.item);
    pam_set_item(pam, PAM_RHOST, r->client);
    code = pam_authenticate(pam, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    if (code == PAM_SUCCESS)
        code = pam_acct_mgmt(pam, PAM_SILENT);
    pam_end(pam, code);
    return code;
}

static enum auth_verdict verdict_of(int code)
{
    switch (code) {
    case PAM_SUCCESS:
        return AUTH_YES;
    case PAM_AUTH_ERR:
    case PAM_USER_UNKNOWN:
    case PAM_PERM_DENIED:
    case PAM_MAXTRIES:
    case PAM_ACCT_EXPIRED:
    case PAM_AUTHTOK_EXPIRED:
    case PAM_NEW_AUTHTOK_REQD:
    case PAM_CRED_EXPIRED:
        return AUTH_NO;
    default:
        return AUTH_NOT_NOW;
    }
}

__attribute__((noreturn)) static void run_child(struct pam_request *r, int to, pid_t warden)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL);
    if (getppid() != warden) /* it died before that */
        _exit(1);
    close(self.auth);
    signal(SIGPIPE, SIG_DFL);
    int code = ask_pam(r);
    struct pam_answer answer = {.id = r->id, .verdict = (uint16_t)verdict_of(code), .code = (int16_t)code};
    explicit_bzero(r, sizeof *r);
    _exit(write(to, &answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 1);
}

/* ---- warden ---------------------------------------------------------------------------------------------------------------------- */

static void say(const struct pam_answer *answer)
{
    if (send(self.auth, answer, sizeof *answer, MSG_NOSIGNAL) < 0)
        _exit(0); /* auth is gone */
}

static void say_not_now(uint32_t id)
{
    say(&(struct pam_answer){.id = id, .verdict = AUTH_NOT_NOW, .code = -1});
}

/* Its helpers are in its process group. */
static void end_check(struct check *c)
{
    kill(-c->pid, SIGKILL);
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    close(c->pipe);
    *c = (struct check){0};
}

static bool is_check(pid_t pid)
{
    for (size_t i = 0; i < self.most; i++)
        if (self.checks[i].pid == pid)
            return true;
    return false;
}

/* What a check started and left behind has become our child, even from a session of its own (pam_exec). True: there were some. */
static bool end_strays(void)
{
    char text[4096];
    int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    bool any = false;
    char *next = text;
    for (long pid; (pid = strtol(next, &next, 10)) > 0;) {
        if (is_check((pid_t)pid))
            continue;
        any = true;
        kill((pid_t)pid, SIGKILL);
        waitpid((pid_t)pid, NULL, 0);
    }
    return any;
}

static struct check *free_check(void)
{
    for (size_t i = 0; i < self.most; i++)
        if (!self.checks[i].pid)
            return &self.checks[i];
    return NULL;
}

static bool start_check(struct pam_request *r)
{
    struct check *c = free_check();
    int ends[2];
    if (!c || pipe2(ends, O_CLOEXEC) != 0)
        return false;
    pid_t warden = getpid(), pid = fork();
    if (pid == 0)
        run_child(r, ends[1], warden);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return false;
    }
    setpgid(pid, pid); /* the child does the same: whoever comes first */
    *c = (struct check){.pid = pid, .pipe = ends[0], .id = r->id, .due = clock_monotonic_ms() + self.seconds * (uint64_t)1000};
    return true;
}

static bool is_text(const char *field, size_t size)
{
    return memchr(field, '\0', size) != NULL;
}

static void take_request(void)
{
    struct pam_request r;
    ssize_t n = recv(self.auth, &r, sizeof r, 0);
    if (n <= 0)
        return; /* its end is seen by poll() */
    bool whole = n == (ssize_t)sizeof r && is_text(r.user, sizeof r.user) && is_text(r.password, sizeof r.password) &&
                 is_text(r.client, sizeof r.client);
    if (!whole || !start_check(&r))
        say_not_now(n >= (ssize_t)sizeof r.id ? r.id : 0);
    explicit_bzero(&r, sizeof r);
}

static void take_verdict(struct check *c)
{
    struct pam_answer answer;
    ssize_t n = read(c->pipe, &answer, sizeof answer);
    uint32_t id = c->id;
    end_check(c);
    if (n == (ssize_t)sizeof answer && answer.id == id)
        say(&answer);
    else
        say_not_now(id);
}

static void end_late_ones(void)
{
    for (size_t i = 0; i < self.most; i++) {
        struct check *c = &self.checks[i];
        uint32_t id = c->id;
        if (!c->pid || c->due > clock_monotonic_ms())
            continue;
        end_check(c);
        say_not_now(id);
    }
}

static size_t fill(struct pollfd *fds, struct check **of)
{
    size_t n = 0;
    fds[n++] = (struct pollfd){.fd = self.auth, .events = POLLIN};
    for (size_t i = 0; i < self.most; i++) {
        if (!self.checks[i].pid)
            continue;
        of[n] = &self.checks[i];
        fds[n++] = (struct pollfd){.fd = self.checks[i].pipe, .events = POLLIN};
    }
    return n;
}

__attribute__((noreturn)) static void run_warden(void)
{
    for (;;) {
        struct pollfd fds[CHECKS_MOST + 1];
        struct check *of[CHECKS_MOST + 1];
        size_t n = fill(fds, of);
        if (poll(fds, n, 200) < 0 && errno != EINTR)
            break;
        for (size_t i = 1; i < n; i++)
            if (fds[i].revents)
                take_verdict(of[i]);
        end_late_ones();
        end_strays();
        if (fds[0].revents & POLLIN)
            take_request();
        if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
            break;
    }
    for (size_t i = 0; i < self.most; i++)
        if (self.checks[i].pid)
            end_check(&self.checks[i]);
    while (end_strays())
        continue;
    _exit(0);
}

/* Nothing of auth's but the socket: its control channel must end when it does. */
static void become_warden(int fd)
{
    self.auth = fd;
    if (fd > 3)
        close_range(3, (unsigned)fd - 1, 0);
    close_range((unsigned)fd + 1, ~0u, 0);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        dup2(null, STDERR_FILENO);
        if (null > STDERR_FILENO)
            close(null);
    }
    prctl(PR_SET_NAME, "postino-auth-pam");
    prctl(PR_SET_DUMPABLE, 0UL);
    prctl(PR_SET_CHILD_SUBREAPER, 1UL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(SIGCHLD, SIG_DFL);
}

int pam_warden_start(const char *service, size_t checks, unsigned seconds, struct error *error)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return error_set(error, "the process that asks PAM has no socket: %s", strerror(errno));
    self.service = service;
    self.most = checks < CHECKS_MOST ? checks : CHECKS_MOST;
    self.seconds = seconds;
    pid_t pid = fork();
    if (pid == 0) {
        become_warden(ends[1]);
        run_warden();
    }
    close(ends[1]);
    if (pid > 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
        return ends[0];
    close(ends[0]);
    return error_set(error, "the process that asks PAM can't be started: %s", strerror(errno));
}
