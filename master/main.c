/* postino-master: reads the configuration, makes what the others need, starts and watches them (docs/architecture.md). It reads nothing
 * that comes from the network, and of its own programs only that they are ready. */
#include "master/master.h"

#include "common/channel.h"
#include "common/log.h"
#include "conf/parse.h"
#include "master/detach.h"
#include "master/directories.h"
#include "master/life.h"
#include "master/logs.h"
#include "master/pidfile.h"
#include "master/reload.h"
#include "master/status.h"
#include "master/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define SYSLOG_LOOK_SECONDS 5

struct master master = {.run_directory = -1};

void plan_free(struct plan *plan)
{
    if (plan == NULL)
        return;
    listeners_close(&plan->listeners);
    settings_free(plan->settings);
    free(plan);
}

/* ---- events -------------------------------------------------------------------------------------------------------------------- */

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what, (void)arg;
    switch (number) {
    case SIGCHLD:
        life_reap();
        break;
    case SIGHUP:
        reload_begin();
        break;
    case SIGUSR1:
        reload_logs();
        break;
    default:
        stop_begin(number == SIGINT ? "SIGINT" : "SIGTERM");
    }
}

static void look_at_syslog(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (logs_stale(master.current->settings))
        reload_logs();
}

static void add_event(struct event *event, const struct timeval *every)
{
    if (event == NULL || event_add(event, every) != 0)
        log_die("out of memory for an event");
}

static void make_events(void)
{
    static const int numbers[] = {SIGCHLD, SIGHUP, SIGUSR1, SIGTERM, SIGINT};
    master.base = event_base_new();
    if (master.base == NULL)
        log_die("the event loop can't be made: %s", strerror(errno));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        add_event(evsignal_new(master.base, numbers[i], on_signal, NULL), NULL);
    add_event(event_new(master.base, -1, EV_PERSIST, look_at_syslog, NULL), &(struct timeval){.tv_sec = SYSLOG_LOOK_SECONDS});
}

static void run(void)
{
    channels_flush();
    log_flush();
    while (!master.ended) {
        event_base_loop(master.base, EVLOOP_ONCE);
        channels_flush();
        log_flush();
    }
}

/* ---- start --------------------------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void usage(void)
{
    fprintf(stderr, "usage: postino-master -c FILE [-f]\n"
                    "  -c FILE  the configuration (postino.conf)\n"
                    "  -f       stay in the foreground\n");
    exit(EX_USAGE);
}

static void take_options(int argc, char **argv)
{
    int option;
    while ((option = getopt(argc, argv, "c:f")) != -1) {
        if (option == 'c')
            master.file = realpath(optarg, NULL);
        else if (option == 'f')
            master.foreground = true;
        else
            usage();
        if (option == 'c' && master.file == NULL) {
            fprintf(stderr, "postino-master: %s: %s; name the configuration with -c\n", optarg, strerror(errno));
            exit(EX_CONFIG);
        }
    }
    if (optind != argc || master.file == NULL)
        usage();
}

/* Descriptors 0 to 2 must be there, so that none of ours gets such a number. As many others as we may have. */
static void tidy_descriptors(void)
{
    struct rlimit files;
    int fd;
    while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= STDERR_FILENO)
        continue;
    close(fd);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

__attribute__((noreturn)) static void refuse(int status, const struct error *error)
{
    log_flush();
    fprintf(stderr, "postino-master: %s\n", error->text);
    exit(status);
}

static struct settings *parse(void)
{
    struct report report = {0};
    struct settings *settings = parse_file(master.file, PARSE_HOST, &report);
    fputs(buf_text(&report.warnings), stderr);
    fputs(buf_text(&report.errors), stderr);
    report_free(&report);
    if (settings == NULL)
        exit(EX_CONFIG);
    return settings;
}

/* Everything that can go wrong in front of the administrator's eyes, before anything is started. */
static void prepare(void)
{
    struct error error;
    struct plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        log_die("out of memory for a configuration");
    plan->generation = 1;
    plan->settings = parse();
    master.current = plan;
    master.run_directory = directories_prepare(plan->settings, master.unprivileged, &error);
    if (master.run_directory < 0)
        refuse(EX_CONFIG, &error);
    if (pidfile_take(master.run_directory, plan->settings->directory_run, &error) != 0)
        refuse(EX_TEMPFAIL, &error);
    if (pidfile_write(plan->settings->directory_run, &error) != 0) /* a killed one's would stand there while we wait for its ports */
        refuse(EX_OSERR, &error);
    if (listeners_open(&plan->listeners, plan->settings, NULL, master.unprivileged, &error) != 0)
        refuse(EX_UNAVAILABLE, &error);
    if (logs_open(plan->settings, master.foreground, &error) != 0)
        refuse(EX_CONFIG, &error);
}

static void tell_privileges(void)
{
    if (master.unprivileged)
        log_warning("not started by root: no separate users, no root directories of their own for the programs, no port below 1024, local "
                    "delivery to "
                    "this user only; seccomp, Landlock and the limits are there all the same");
}

static void finish(void)
{
    listeners_remove_sockets(&master.current->listeners, NULL);
    status_remove();
    pidfile_remove(master.run_directory);
    log_info("ended");
    log_flush();
}

int main(int argc, char **argv)
{
    struct error error;
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    tidy_descriptors();
    take_options(argc, argv);
    tzset();
    master.unprivileged = geteuid() != 0;
    log_open("postino-master", STDERR_FILENO, LOG_TO_STDERR, LOG_LEVEL_INFO);
    prepare();
    if (!master.foreground && detach(&error) != 0)
        refuse(EX_OSERR, &error);
    if (pidfile_write(master.current->settings->directory_run, &error) != 0)
        refuse(EX_OSERR, &error);
    make_events();
    tell_privileges();
    life_begin();
    run();
    finish();
    return master.exit_status;
}
