tlsmgr_SRC := tlsmgr/pair.c tlsmgr/pairs.c tlsmgr/sign.c tlsmgr/tickets.c tlsmgr/requests.c

PROGRAMS            += postino-tlsmgr
postino-tlsmgr_SRC  := tlsmgr/tlsmgr.c $(tlsmgr_SRC)
postino-tlsmgr_LIBS := -lcrypto $(COMMON_LIBS)

MANUALS += tlsmgr/postino-tlsmgr.8

TESTS += test_tlsmgr test_tls_choice
test_tlsmgr_SRC  := $(tlsmgr_SRC)
test_tlsmgr_LIBS := -lcrypto
test_tls_choice_SRC  := smtpd/tls_choice.c
test_tls_choice_LIBS := -lssl -lcrypto
