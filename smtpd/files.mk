smtpd_session_SRC := smtpd/session.c smtpd/verbs.c smtpd/intake.c smtpd/command.c smtpd/data.c smtpd/reply.c smtpd/trace.c smtpd/login.c \
                     smtpd/envelope.c smtpd/complete.c smtpd/ids.c smtpd/clients.c
smtpd_LIBS        := -lssl -lcrypto $(COMMON_LIBS)

PROGRAMS           += postino-smtpd postino-auth
postino-smtpd_SRC  := smtpd/smtpd.c smtpd/tls.c $(smtpd_session_SRC)
postino-smtpd_LIBS := $(smtpd_LIBS)
postino-auth_SRC   := smtpd/auth.c smtpd/passwd.c
postino-auth_LIBS  := -lcrypt $(COMMON_LIBS)
