auth_SRC := auth/conversation.c auth/response.c auth/secret.c auth/passwd.c auth/hasher.c auth/scram.c auth/failures.c auth/usage.c auth/backend_file.c \
            auth/backend_dovecot.c auth/dovecot_reply.c auth/backend_pam.c auth/pam_warden.c

PROGRAMS          += postino-auth
postino-auth_SRC  := auth/auth.c $(auth_SRC)
postino-auth_LIBS := -lpam -lgsasl -lcrypt -lcrypto $(COMMON_LIBS)

TESTS += test_passwd test_sasl test_failures test_usage test_dovecot
test_passwd_SRC  := auth/passwd.c auth/secret.c
test_passwd_LIBS := -lgsasl -lcrypt -lcrypto

test_sasl_SRC    := auth/response.c auth/secret.c
test_sasl_LIBS   := -lgsasl
test_failures_SRC := auth/failures.c
test_usage_SRC := auth/usage.c
test_dovecot_SRC := auth/dovecot_reply.c

FUZZERS += fuzz_sasl fuzz_dovecot
fuzz_sasl_SRC  := auth/response.c auth/secret.c auth/scram.c
fuzz_sasl_LIBS := -lgsasl -lssl -lcrypto -ldb-5.3 $(COMMON_LIBS)
fuzz_dovecot_SRC := auth/dovecot_reply.c
fuzz_dovecot_LIBS := -lssl -lcrypto -ldb-5.3 $(COMMON_LIBS)

MANUALS += auth/postino-auth.8
