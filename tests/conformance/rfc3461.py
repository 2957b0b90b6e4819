"""RFC 3461: Delivery Status Notifications. What is made of them is in tests/e2e/test_dsn.py."""
from rules import one_by_one

M, R = "MAIL FROM:<a@client.example> ", "RCPT TO:<alice@local.example> "
ALONE = "Postfix takes the word alone for one that it does not know"
one_by_one("rfc3461_4_1_notify", R, {
    "NOTIFY=NEVER": "250", "NOTIFY=SUCCESS": "250", "NOTIFY=FAILURE": "250", "NOTIFY=DELAY": "250", "notify=success,Failure,DELAY": "250", "NOTIFY=DELAY,FAILURE": "250",
    "NOTIFY=NEVER,SUCCESS": "501 5.5.4", "NOTIFY=SUCCESS,NEVER": "501 5.5.4", "NOTIFY=": "501 5.5.4", "NOTIFY=SOMETIMES": "501 5.5.4", "NOTIFY=SUCCESS,": ("501 5.5.4", "250",
    "Postfix skips commas"), "NOTIFY=,SUCCESS": ("501 5.5.4", "250", "Postfix skips commas"), "NOTIFY": ("501 5.5.4", "555", ALONE),
    "NOTIFY=SUCCESS,SUCCESS": ("501 5.5.4", "250", "Postfix takes a word twice for once; 4.1 has each at most once"),
    "NOTIFY=SUCCESS NOTIFY=FAILURE": "501 5.5.4",
}, "")
one_by_one("rfc3461_4_2_orcpt", R, {
    "ORCPT=rfc822;bob@client.example": "250", "ORCPT=RFC822;Bob+40client.example": "250", "ORCPT=x400;/S=l/": ("501 5.5.4", "250", "Postfix is lax about xtext; '=' is none (4)"),
    "ORCPT=x400;/S+3Dl/": "250", "ORCPT=bob@client.example": "501 5.5.4", "ORCPT=rfc822;": ("501 5.5.4", "250", "Postfix takes an address without a character"), "ORCPT=": "501 5.5.4",
    "ORCPT=rfc822;a+4": "501 5.5.4", "ORCPT=rfc822;a+zzb": "501 5.5.4",
    "ORCPT=rfc822;a+0D+0AX-Injected:+20yes": ("501 5.5.4", "250", "Postfix takes line ends in xtext; 4: what is printable, so that nothing can write a line into a report"),
    "ORCPT=;a": "501 5.5.4",
    "ORCPT=rfc822;" + "x" * 493: "250", "ORCPT=rfc822;" + "x" * 494: ("501 5.5.4", "250", "500 octets in all (4.2); Postfix has no such limit"),
    "ORCPT=rfc822;a ORCPT=rfc822;b": "501 5.5.4",
}, "")
one_by_one("rfc3461_4_3_ret", M, {
    "RET=FULL": "250", "RET=HDRS": "250", "ret=hdrs": "250", "RET=NONE": "501 5.5.4", "RET=": "501 5.5.4", "RET": ("501 5.5.4", "555", ALONE),
    "RET=FULL RET=FULL": "501 5.5.4", "RET=FULL SIZE=1 BODY=8BITMIME ENVID=x": "250"}, "")
one_by_one("rfc3461_4_4_envid", M, {
    "ENVID=QQ314159": "250", "ENVID=a+2Bb": "250", "ENVID=" + "x" * 100: "250", "ENVID=" + "x" * 101: ("501 5.5.4", "250", "100 characters (4.4); Postfix has no such limit"),
    "ENVID=": "501 5.5.4", "ENVID": ("501 5.5.4", "555", ALONE),
    "ENVID=a=b": ("501 5.5.4", "250", "Postfix is lax about xtext; '=' is none (4)"), "ENVID=a+": "501 5.5.4",
    "ENVID=a+0Ab": "501 5.5.4", "ENVID=a ENVID=b": "501 5.5.4"}, "")
one_by_one("rfc3461_4_parameters_of_mail_are_not_of_rcpt", R, {"RET=FULL": "555 5.5.4", "ENVID=x": "555 5.5.4"}, "")
one_by_one("rfc3461_4_parameters_of_rcpt_are_not_of_mail", M, {"NOTIFY=NEVER": "555 5.5.4", "ORCPT=rfc822;a@b": "555 5.5.4"}, "")
