exchange_SRC := creds/exchange.c creds/scram_client.c

PROGRAMS += postino-creds
postino-creds_SRC := creds/creds.c creds/conversation.c creds/login.c creds/token.c creds/token_answer.c creds/token_store.c creds/courier.c creds/courier_run.c $(exchange_SRC)
postino-creds_LIBS = -lgsasl -lcurl -lssl -lcrypto $(COMMON_LIBS)
MANUALS += creds/postino-creds.8
TESTS += test_creds
test_creds_SRC := creds/token_answer.c creds/token_store.c $(exchange_SRC)
test_creds_LIBS = -lgsasl -lcrypto $(COMMON_LIBS)
FUZZERS += fuzz_login
fuzz_login_SRC := creds/token_answer.c $(exchange_SRC)
fuzz_login_LIBS = -lgsasl $(COMMON_LIBS) -lssl -lcrypto -ldb-5.3
TESTS += test_courier
test_courier_SRC := creds/courier.c
test_courier_LIBS = -levent_core
