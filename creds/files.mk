exchange_SRC := creds/exchange.c creds/scram_client.c smtpd/base64.c

PROGRAMS += postino-creds
postino-creds_SRC := creds/creds.c creds/conversation.c creds/login.c $(exchange_SRC)
postino-creds_LIBS = -lgsasl -lcrypto $(COMMON_LIBS)
MANUALS += creds/postino-creds.8
TESTS += test_creds
test_creds_SRC := creds/login.c $(exchange_SRC)
test_creds_LIBS = -lgsasl -lcrypto $(COMMON_LIBS)
