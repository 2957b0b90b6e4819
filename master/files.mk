# postino-master: starts, wires and watches all others.
PROGRAMS += postino-master
postino-master_SRC  := master/main.c master/deaths.c master/detach.c master/directories.c master/edges.c master/holder.c master/life.c \
                       master/listeners.c master/logs.c master/notify.c master/pidfile.c master/process.c master/programs.c master/reload.c master/replace.c \
                       master/spawn.c master/status.c master/stop.c $(conf_parse_SRC)
postino-master_LIBS := $(conf_parse_LIBS)

TESTS += test_master
test_master_SRC  := master/programs.c master/deaths.c master/notify.c

MANUALS += master/postino-master.8
