"""RFC 5321: Simple Mail Transfer Protocol."""
import re
import time

from dialogue import Failed
from rules import after_ehlo, one_by_one, table
from servers import DOMAIN, HOPS, HOSTNAME, RECIPIENTS

ENVELOPE = ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<alice@local.example>", "250")


def delivered(s, mark, name="alice"):
    """The message in the mailbox that has `mark` in it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [m for m in s.server.messages(name) if mark in m]
        if found:
            return found[0]
        time.sleep(0.02)
    raise Failed("%r was not delivered" % mark)


# ---- 2.3.8 to 2.4: lines, octets, case --------------------------------------------------------------------------------------------------------------------

def rfc5321_2_3_8_a_command_ends_with_cr_lf(s):
    s.ehlo()
    s.send(b"NOOP\n")
    s.hear("500 5.5.2", "250 2.0.0", "Postfix takes a bare LF for a line end unless smtpd_forbid_bare_newline is set; 2.3.8: it must not be taken for one")


def rfc5321_2_3_8_a_bare_cr_in_a_command_is_no_line_end(s):
    s.ehlo()
    s.send(b"NOOP\rQUIT\r\n")
    s.hear("500", "250", "Postfix takes all that follows NOOP for its argument, which nobody reads; an octet that no command has is refused here wherever it is")
    s.say("NOOP", "250")


after_ehlo("rfc5321_2_4_verbs_in_any_case", ("noop", "250"), ("mAiL fRoM:<a@client.example>", "250"), ("rcpt TO:<alice@local.example>", "250"), ("rSeT", "250"),
           ("MAIL from:<a@client.example> size=100 body=8bitmime", "250"), ("rset", "250"), ("vrfy alice", "252"))
table("rfc5321_2_4_helo_and_ehlo_in_any_case", ("helo client.example", "250"), ("eHlO client.example", "250"))
after_ehlo("rfc5321_2_4_the_case_of_a_local_part_is_kept_in_replies", ("MAIL FROM:<a@client.example>", "250"),
           ("RCPT TO:<NoBody@local.example>", r"550 5\.1\.1 <NoBody@local\.example>"))
after_ehlo("rfc5321_2_4_octets_above_127_are_refused_in_commands",
           ("MAIL FROM:<\xe4@client.example>", "50[01] 5"), ("N\xd6OP", "500 5.5.2"),
           ("MAIL FROM:<\xc3\xa4@client.example>", "550 5.6.7", "250", "Postfix takes UTF-8 without the SMTPUTF8 parameter (strict_smtputf8 = no); RFC 6531 3.5 has it"))
after_ehlo("rfc5321_2_4_control_characters_are_refused_in_commands",
           ("MAIL FROM:<a\x01b@client.example>", "50[01] 5", "250", "Postfix takes control characters in an address; no header and no log should have them"), ("RSET", "250"),
           ("MAIL FROM:<a\x00b@client.example>", "50[01] 5"))


def rfc5321_2_4_eight_bit_text_is_kept_octet_for_octet(s):
    s.ehlo()
    s.mail()
    octets = bytes(range(128, 256))
    s.text(b"Subject: octets of 2.4\r\n\r\n" + octets + b"\r\n.\r\n")
    s.expect(octets + b"\n" in delivered(s, b"octets of 2.4"), "octets were changed")


# ---- 3: the procedures -----------------------------------------------------------------------------------------------------------------------------------

def rfc5321_3_1_the_greeting_names_the_host(s):
    s.expect(re.match(r"220 %s( |$)" % re.escape(HOSTNAME), s.greeting[-1]), "the greeting does not begin with the host's name: %r" % s.greeting)


def rfc5321_3_3_a_message_is_taken_and_delivered(s):
    s.ehlo()
    s.mail()
    s.text(b"Subject: taken by 3.3\r\n\r\nhello\r\n.\r\n", "250 2.0.0")
    delivered(s, b"Subject: taken by 3.3\n")


def rfc5321_3_3_several_messages_in_a_session(s):
    s.ehlo()
    for n in range(3):
        s.mail()
        s.text(b"Subject: message %d of a session\r\n\r\n.\r\n" % n)
    for n in range(3):
        delivered(s, b"Subject: message %d of a session\n" % n)


after_ehlo("rfc5321_3_3_rcpt_before_mail", ("RCPT TO:<alice@local.example>", "503 5.5.1"))
after_ehlo("rfc5321_3_3_data_before_mail", ("DATA", "503 5.5.1"))
after_ehlo("rfc5321_3_3_data_before_rcpt", ("MAIL FROM:<a@client.example>", "250"), ("DATA", "503 5.5.1", "554 5.5.1",
           "Postfix says 'no valid recipients', as after a refused RCPT; 3.3 allows both, and 503 is the sequence error that it is"))
after_ehlo("rfc5321_3_3_data_after_only_refused_recipients", ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<nobody@local.example>", "550 5.1.1"), ("DATA", "554 5.5.1"))
after_ehlo("rfc5321_3_3_mail_inside_a_transaction", ("MAIL FROM:<a@client.example>", "250"), ("MAIL FROM:<b@client.example>", "503 5.5.1"),
           ("RCPT TO:<alice@local.example>", "250"))
after_ehlo("rfc5321_3_3_a_refused_recipient_leaves_the_others", ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<nobody@local.example>", "550 5.1.1"),
           ("RCPT TO:<alice@local.example>", "250 2.1.5"), ("DATA", "354"), ("Subject: x\r\n\r\n.", "250"))
after_ehlo("rfc5321_3_3_a_refused_mail_opens_nothing", ("MAIL FROM:<a@", "501 5"), ("RCPT TO:<alice@local.example>", "503 5.5.1"), ("DATA", "503 5.5.1"),
           ("MAIL FROM:<a@client.example>", "250"))
after_ehlo("rfc5321_3_3_data_ends_the_transaction", *ENVELOPE, ("DATA", "354"), (".", "250"), ("RCPT TO:<alice@local.example>", "503 5.5.1"), ("DATA", "503"),
           ("MAIL FROM:<a@client.example>", "250"))
after_ehlo("rfc5321_3_5_1_vrfy_says_nothing_about_users", ("VRFY alice", "252 2"), ("VRFY nobody-of-this-name", "252 2"), ("VRFY alice@local.example", "252 2"),
           ("VRFY nobody@local.example", "252 2", "550 5.1.1", "Postfix tells who is no user here, which is a list of users to whoever asks often enough (3.5.3 allows 252, 7.3 advises it)"))
after_ehlo("rfc5321_3_5_2_expn_is_refused_by_policy", ("EXPN list", "502 5.5", "500 5.5.2", "Postfix does not know the word; 502 says that it is known, and not done (4.2.4)"))
after_ehlo("rfc5321_3_6_2_a_stranger_may_not_relay", ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<x@elsewhere.example>", "55[04] 5.7.1"))


def rfc5321_3_6_2_a_client_that_may_relay(s):
    s = s.again("127.0.0.1")
    s.ehlo()
    s.all(("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<x@elsewhere.example>", "250 2.1.5"))


def rfc5321_3_8_quit_closes_after_its_reply(s):
    s.ehlo()
    s.say("QUIT", "221 2.0.0")
    s.hear_end()


def rfc5321_3_8_quit_inside_a_transaction_sends_nothing(s):
    s.ehlo()
    s.mail()
    s.say("QUIT", "221 2.0.0")
    s.hear_end()


def rfc5321_3_8_quit_before_ehlo(s):
    s.say("QUIT", "221")
    s.hear_end()


# ---- 4.1.1: each command ---------------------------------------------------------------------------------------------------------------------------------

def rfc5321_4_1_1_1_ehlo_names_the_host_first(s):
    lines = s.ehlo()
    s.expect(re.match(r"250-%s( |$)" % re.escape(HOSTNAME), lines[0]), "the first line does not begin with the host's name: %r" % lines)


def rfc5321_4_1_1_1_helo_has_one_line(s):
    s.expect(len(s.say("HELO client.example", r"250 %s( |$)" % re.escape(HOSTNAME))) == 1, "HELO is answered in more than one line")


# What has to be offered; an extension that comes is one line.
OFFERED = {"PIPELINING": [], "SIZE": ["2097152"], "STARTTLS": [], "ENHANCEDSTATUSCODES": [], "8BITMIME": [], "DSN": [], "SMTPUTF8": [], "CHUNKING": [], "ETRN": []}
OURS = {"LIMITS", "BINARYMIME", "MT-PRIORITY"}  # and these, which Postfix has not


def rfc5321_4_1_1_1_what_is_offered(s):
    s.ehlo()
    for word, parameters in OFFERED.items():
        s.expect(s.extensions.get(word) == parameters, "%s is offered with %r" % (word, s.extensions.get(word)))
    ours = set(s.extensions) - set(OFFERED)
    s.expect(ours == OURS if s.server.name == "Postino" else ours <= {"VRFY"}, "offered too: %s" % ours)


table("rfc5321_4_1_1_1_ehlo_without_a_name", ("EHLO", "501"), ("HELO", "501"), ("EHLO ", "501"), ("MAIL FROM:<a@client.example>", "503", "250",
      "Postfix takes mail without HELO unless smtpd_helo_required is set"))
table("rfc5321_4_1_1_1_ehlo_with_literals", ("EHLO [192.0.2.1]", "250"), ("EHLO [IPv6:2001:db8::1]", "250"), ("HELO [192.0.2.1]", "250"), ("EHLO client", "250"),
      ("EHLO client_with_underscore.example", "250"))
table("rfc5321_4_1_1_1_ehlo_with_more_than_a_name", ("EHLO client.example and more", "501", "250", "Postfix looks at the first word alone"))


def rfc5321_4_1_1_1_ehlo_ends_a_transaction(s):
    for word in "EHLO", "HELO":
        s.ehlo()
        s.mail()
        s.say(word + " client.example", "250")
        s.statuses = word == "EHLO"
        s.say("RCPT TO:<alice@local.example>", "503")
        s.mail()


def rfc5321_4_1_1_1_ehlo_at_any_time(s):
    for _ in range(3):
        s.ehlo()
        s.say("HELO client.example", "250")


def rfc5321_4_1_1_1_ehlo_of_more_than_a_name_may_have(s):
    s.say("EHLO " + "x" * 300 + ".example", "501", "250", "Postfix takes what fits into a command line; no domain is longer than 255 octets (4.5.3.1.2)")


after_ehlo("rfc5321_4_1_1_2_the_null_reverse_path", ("MAIL FROM:<>", "250 2.1.0"), ("RCPT TO:<alice@local.example>", "250 2.1.5"))
after_ehlo("rfc5321_4_1_1_2_mail_without_its_form", ("MAIL", "501 5.5.4"), ("MAIL FROM", "501 5.5.4"), ("MAIL FROM:", "501 5"), ("MAIL <a@client.example>", "501 5.5.4"),
           ("MAIL FROM <a@client.example>", "501 5.5.4"), ("MAIL TO:<a@client.example>", "501 5.5.4"))
after_ehlo("rfc5321_4_2_4_a_line_that_looks_like_a_header", ("Subject: x", "500 5.5.2", "221 2.7.0", "Postfix hangs up on what looks like the text of a message (smtpd_forbidden_commands);"
           " 4.2.4 has 500, and limit { errors } ends a session that goes on with it"))
after_ehlo("rfc5321_4_1_1_2_a_blank_before_the_path_is_tolerated", ("MAIL FROM: <a@client.example>", "250"), ("RCPT TO: <alice@local.example>", "250"))
after_ehlo("rfc5321_4_1_1_2_a_path_without_brackets_is_tolerated", ("MAIL FROM:a@client.example", "250"), ("RCPT TO:alice@local.example", "250"))
after_ehlo("rfc5321_4_1_1_2_more_behind_the_path", ("MAIL FROM:<a@client.example>x", "501 5"), ("MAIL FROM:<a@client.example><b@client.example>", "501 5"))
after_ehlo("rfc5321_4_1_1_3_rcpt_without_its_form", ("MAIL FROM:<a@client.example>", "250"), ("RCPT", "501 5.5.4"), ("RCPT TO", "501 5.5.4"), ("RCPT TO:", "501 5"),
           ("RCPT <alice@local.example>", "501 5.5.4"), ("RCPT FROM:<alice@local.example>", "501 5.5.4"))
after_ehlo("rfc5321_4_1_1_3_no_null_forward_path", ("MAIL FROM:<>", "250"), ("RCPT TO:<>", "501 5.1.3"))
after_ehlo("rfc5321_4_1_1_3_postmaster_without_a_domain", ("MAIL FROM:<>", "250"), ("RCPT TO:<Postmaster>", "250"), ("RCPT TO:<POSTMASTER>", "250"),
           ("RCPT TO:<postmaster>", "250"))
after_ehlo("rfc5321_4_1_1_3_no_other_without_a_domain", ("MAIL FROM:<>", "250"), ("RCPT TO:<alice>", "501 5.1.3", "250",
           "Postfix puts its own domain behind a bare local part; only Postmaster may come without one"))
after_ehlo("rfc5321_4_1_1_2_no_sender_without_a_domain", ("MAIL FROM:<alice>", "501 5.1.7", "250", "Postfix puts its own domain behind a stranger's name"))
after_ehlo("rfc5321_4_1_1_3_source_routes_are_ignored", ("MAIL FROM:<@one.example,@two.example:a@client.example>", "250"),
           ("RCPT TO:<@one.example:alice@local.example>", "250"), ("RCPT TO:<@one.example,@two.example:alice@local.example>", "250"),
           ("RCPT TO:<@local.example:x@elsewhere.example>", "55[04] 5.7.1"), ("RCPT TO:<@one.example,:alice@local.example>", "501", "250", "Postfix skips to the last colon"),
           ("RCPT TO:<@:alice@local.example>", "501", "250", "Postfix skips to the last colon"))


def rfc5321_4_1_1_3_a_source_route_does_not_stay(s):
    s.ehlo()
    s.all(("MAIL FROM:<@one.example,@two.example:routed@client.example>", "250"), ("RCPT TO:<alice@local.example>", "250"))
    s.text(b"Subject: a source route\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: a source route\n")
    s.expect(message.startswith(b"Return-Path: <routed@client.example>\n"), "the reverse-path is %r" % message[:80])


after_ehlo("rfc5321_4_1_1_4_data_takes_no_argument", *ENVELOPE, ("DATA now", "501 5.5.4"), ("DATA", "354"), (".", "250"))


def rfc5321_4_1_1_4_a_text_without_anything(s):
    s.ehlo()
    s.mail()
    s.text(b".\r\n", "250")


after_ehlo("rfc5321_4_1_1_5_rset_takes_no_argument", ("RSET now", "501 5.5.4"))
after_ehlo("rfc5321_4_1_1_5_rset_ends_a_transaction", *ENVELOPE, ("RSET", "250 2.0.0"), ("RCPT TO:<alice@local.example>", "503"), ("DATA", "503"), *ENVELOPE)
table("rfc5321_4_1_1_5_rset_at_any_time", ("RSET", "250"), ("RSET", "250"), ("EHLO client.example", "250"), ("RSET", "250"), ("MAIL FROM:<a@client.example>", "250"))
after_ehlo("rfc5321_4_1_1_6_vrfy_needs_an_argument", ("VRFY", "501 5.5.4"), ("VRFY <alice@local.example>", "252"), ("VRFY a b c", "252", "501",
           "Postfix takes one word; 4.1.1.6 has a string, which may be a name with blanks (3.5.1)"))
after_ehlo("rfc5321_4_1_1_7_expn_needs_an_argument", ("EXPN", "501 5.5.4", "500 5.5.2", "Postfix does not know the word"))
after_ehlo("rfc5321_4_1_1_8_help", ("HELP", "214 2.0.0", "500", "Postfix 3.7 does not know the word; 4.5.1 does not ask for it"), ("HELP MAIL", "214 2.0.0", "500", "as above"))
after_ehlo("rfc5321_4_1_1_9_noop_with_and_without_a_string", ("NOOP", "250 2.0.0"), ("NOOP x", "250 2.0.0"), ('NOOP "a quoted string" and more', "250 2.0.0"))
after_ehlo("rfc5321_4_1_1_9_noop_changes_nothing", ("MAIL FROM:<a@client.example>", "250"), ("NOOP", "250"), ("RCPT TO:<alice@local.example>", "250"), ("NOOP", "250"),
           ("VRFY x", "252"), ("DATA", "354"), (".", "250"))
after_ehlo("rfc5321_4_1_1_10_quit_takes_no_argument", ("QUIT now", "501 5.5.4", "221 2.0.0", "Postfix leaves all the same; 4.1.1.10 has no argument, and the client is still there to read 501"))
after_ehlo("rfc5321_4_1_1_11_unknown_parameters", ("MAIL FROM:<a@client.example> X-NONE", "555 5.5.4"), ("MAIL FROM:<a@client.example> X=1 SIZE=1", "555 5.5.4"),
           ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<alice@local.example> X-NONE=1", "555 5.5.4"), ("RCPT TO:<alice@local.example>", "250"))
after_ehlo("rfc5321_4_1_1_trailing_blanks", ("NOOP  ", "250"), ("MAIL FROM:<a@client.example>  ", "250"), ("RCPT TO:<alice@local.example> \t", "250"), ("RSET ", "250"),
           ("MAIL FROM:<a@client.example> SIZE=1  ", "250"), ("RCPT TO:<alice@local.example>", "250"), ("DATA ", "354"), (".", "250"))
table("rfc5321_4_1_1_trailing_blanks_of_ehlo", ("EHLO client.example  ", "250"), ("HELO client.example\t", "250"))
after_ehlo("rfc5321_4_2_4_unknown_commands", ("XYZZY", "50[02] 5.5.2"), ("XYZZY with words", "50[02] 5.5.2"), ("MAILS FROM:<a@client.example>", "50[02] 5.5.2"), ("", "500 5.5.2"),
           (" NOOP", "500 5.5.2", "250", "Postfix skips blanks in front; a command begins with its verb (4.1.1)"), ("TURN", "50[02]"), ("SEND FROM:<a@client.example>", "50[02]"),
           ("NOOP", "250"))

# ---- 4.1.2, 4.1.3: the forms of an address ---------------------------------------------------------------------------------------------------------------

LOCAL_PARTS = {
    "a": "250", "a.b.c": "250", "a+tag": "250", "!#$%&'*+-/=?^_`{|}~": "250", '""': "250", '"a"': "250", '"a b"': "250", r'"a\"b"': "250", r'"a\\b"': "250", '"a@b"': "250",
    '"<>"': "250", '"a..b"': "250", '".a"': "250",
    "": ("501 5.1.7", "250", "Postfix takes <@client.example>"),
    ".a": ("501 5.1.7", "250", "Postfix takes dots anywhere unless strict_rfc821_envelopes is set; 4.1.2 has no such Dot-string, and what it hands on others refuse"),
    "a.": ("501 5.1.7", "250", "as above"),
    "a..b": ("501 5.1.7", "250", "as above"),
    "a b": "501 5.1.7",
    '"a': "501 5.1.7",
    'a"b"': "501 5.1.7",
    "a,b": "501 5.1.7",
    "a@b": ("501 5.1.7", "250", "Postfix splits at the last @, and would quote the rest; 4.1.2 has no such mailbox"),
    "(a)": ("501 5.1.7", "250", "Postfix takes a comment; there is none in SMTP"),
    "a\\": ("501 5.1.7", "250", "Postfix takes a backslash without quotes; 4.1.2 does not"),
}
one_by_one("rfc5321_4_1_2_local_parts", "MAIL FROM:<", LOCAL_PARTS, "@client.example>")

NOT = "501 5.1.7"
DOMAINS = {
    "client.example": "250", "c": "250", "1.2.client.example": "250", "a--b.client.example": "250", "xn--bcher-kva.client.example": "250", "a_b.client.example": "250",
    "-a.client.example": NOT, "a-.client.example": NOT, ".client.example": NOT, "client..example": NOT, "": NOT, "client example": NOT, "client.example, other.example": NOT, "a!b": NOT,
    "*.example": NOT, "%.example": NOT, "client.example.": (NOT, "250", "Postfix takes the dot of a zone file off; 4.1.2 has none"),
}
one_by_one("rfc5321_4_1_2_domains", "MAIL FROM:<a@", DOMAINS)

LITERALS = {
    "[192.0.2.1]": "250", "[IPv6:2001:db8::1]": "250", "[ipv6:2001:DB8:0:0:0:0:0:1]": "250", "[IPv6:::ffff:192.0.2.1]": "250", "[IPv6:::]": "250",
    "[192.0.2.256]": NOT, "[192.0.2]": NOT, "[192.0.2.1.1]": NOT, "[2001:db8::1]": NOT, "[IPv6:2001:db8::1::2]": NOT, "[IPv6:192.0.2.1]": NOT, "[]": NOT, "192.0.2.1]": NOT,
    "[192.0.2.1": (NOT, "250", "Postfix closes the bracket itself"),
    "[192.0.2.1]x": NOT, "[client.example]": NOT, "[x25:1234]": NOT,  # a General-address-literal needs a registered tag (4.1.3), and there is none
}
one_by_one("rfc5321_4_1_3_address_literals", "MAIL FROM:<a@", LITERALS)

one_by_one("rfc5321_4_1_2_recipients", "RCPT TO:<", {
    "alice@local.example": "250", '"alice"@local.example': "250", r'"al\ice"@local.example': "250", "alice@LOCAL.Example": "250",
    "nobody@local.example": "550 5.1.1", "alice@local.example@elsewhere.example": ("501 5.1.3", "55[04]", "Postfix splits at the last @, and does not relay"),
    "x%elsewhere.example@local.example": ("550 5.1.1", "55[04] 5", "Postfix knows %-routing, and does not relay either"),
    "elsewhere.example!x@local.example": ("550 5.1.1", "55[04] 5", "Postfix knows UUCP's paths, and does not relay either"),
    '"x@elsewhere.example"@local.example': ("550 5.1.1", "55[04] 5", "the same"),
    "x@[192.0.2.77]": "55[04] 5", "alice@local.example.": ("501 5.1.3", "250", "Postfix takes the dot of a zone file off; 4.1.2 has none"),
})


def rfc5321_4_1_2_a_quoted_local_part_stays_itself(s):
    s.ehlo()
    s.all((r'MAIL FROM:<"a \"b"@client.example>', "250"), ("RCPT TO:<alice@local.example>", "250"))
    s.text(b"Subject: a quoted local part\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: a quoted local part\n")
    s.expect(message.startswith(b'Return-Path: <"a \\"b"@client.example>\n'), "the reverse-path is %r" % message[:80])


# ---- 4.1.4: the order of commands ------------------------------------------------------------------------------------------------------------------------

NO_HELO = "Postfix takes mail without HELO unless smtpd_helo_required is set; 4.1.4: a session with mail begins with EHLO or HELO"
table("rfc5321_4_1_4_no_mail_before_ehlo", ("MAIL FROM:<a@client.example>", "503", "250", NO_HELO))
table("rfc5321_4_1_4_rcpt_and_data_before_ehlo", ("RCPT TO:<alice@local.example>", "503"), ("DATA", "503"))
table("rfc5321_4_1_4_what_needs_no_ehlo", ("NOOP", "250"), ("VRFY alice", "252"), ("RSET", "250"), ("EXPN x", "502", "500", "Postfix does not know the word"), ("HELP", "214", "500", "Postfix 3.7 does not know the word"))
after_ehlo("rfc5321_4_1_4_a_refused_ehlo_leaves_the_state", ("MAIL FROM:<a@client.example>", "250"), ("EHLO", "501"), ("RCPT TO:<alice@local.example>", "250"))
after_ehlo("rfc5321_4_1_4_a_refused_verb_leaves_the_state", ("MAIL FROM:<a@client.example>", "250"), ("XYZZY", "50[02]"), ("RCPT TO:<>", "501"),
           ("RCPT TO:<alice@local.example>", "250"), ("DATA x", "501"), ("MAIL FROM:<b@client.example>", "503"), ("RSET x", "501"), ("DATA", "354"), (".", "250"))


def rfc5321_4_1_4_a_false_ehlo_name_is_no_reason_to_refuse(s):
    s.ehlo("name.that.is.not.there.example")
    s.mail()
    s.text(b"Subject: x\r\n\r\n.\r\n")


# ---- 4.2: replies (their form is looked at with every reply: dialogue.py) ---------------------------------------------------------------------------------

def rfc5321_4_2_a_reply_for_every_command_in_order(s):
    s.ehlo()
    s.send(b"NOOP\r\nVRFY x\r\nXYZZY\r\nRSET\r\n" * 5)
    for _ in range(5):
        for expect in "250", "252", "50[02]", "250":
            s.hear(expect)


def rfc5321_4_5_3_1_5_a_reply_line_of_512_at_most(s):
    s.ehlo()
    s.say("MAIL FROM:<a@client.example>", "250")
    s.say("RCPT TO:<%s@%s.example>" % ("x" * 63, ".".join(["y" * 60] * 3)), "55[04]")
    s.say("XYZZY " + "x" * 480, "50[02]")
    if not s.differs("Postfix repeats the word, and so says 515 octets"):
        s.say("VRFY " + "x" * 480, "252")


# ---- 4.4: trace ------------------------------------------------------------------------------------------------------------------------------------------

def rfc5321_4_4_received_and_return_path(s):
    s.ehlo("me.client.example")
    s.mail("trace@client.example")
    s.text(b"Subject: a trace of 4.4\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: a trace of 4.4\n")
    head = message[: message.index(b"Subject:")].decode()
    s.expect(head.startswith("Return-Path: <trace@client.example>\n"), "no Return-Path: in front: %r" % head)
    trace = re.sub(r"\n[ \t]+", " ", head[head.index("Received:"):])
    pattern = r"Received: from me\.client\.example \(\S+ \[127\.0\.0\.2\]\) by %s .*\bwith ESMTP id \w+ .*for <alice@local\.example>; \w{3}, \d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}" % re.escape(HOSTNAME)
    s.expect(re.match(pattern, trace), "not a trace line as 4.4 has it: %r" % trace)


def rfc5321_4_4_with_smtp_after_helo(s):
    s.say("HELO client.example", "250")
    s.mail()
    s.text(b"Subject: with SMTP\r\n\r\n.\r\n")
    s.expect(b" with SMTP id " in delivered(s, b"Subject: with SMTP\n").replace(b"\n\t", b" "), "not 'with SMTP'")


def rfc5321_4_4_recipients_are_not_told_of_each_other(s):
    s.ehlo()
    s.mail("a@client.example", "alice@local.example", "bob@local.example")
    s.text(b"Subject: for two\r\n\r\n.\r\n")
    s.expect(b"for <" not in delivered(s, b"Subject: for two\n"), "the trace line tells one of several recipients")


# ---- 4.5.1, 4.5.2 ----------------------------------------------------------------------------------------------------------------------------------------

table("rfc5321_4_5_1_the_least_that_is_there", ("EHLO client.example", "250"), ("HELO client.example", "250"), ("MAIL FROM:<a@client.example>", "250"),
      ("RCPT TO:<postmaster@local.example>", "250"), ("DATA", "354"), ("Subject: x\r\n\r\n.", "250"), ("RSET", "250"), ("NOOP", "250"), ("VRFY x", "252"), ("QUIT", "221"))


def rfc5321_4_5_2_transparency(s):
    s.ehlo()
    s.mail()
    s.text(b"Subject: transparency\r\n\r\n..\r\n..x\r\n...\r\nx.\r\n .\r\n..\r\n.\r\n")
    s.expect(delivered(s, b"Subject: transparency\n").endswith(b"\n\n.\n.x\n..\nx.\n .\n.\n"), "dots were changed")


def rfc5321_4_5_2_a_single_dot_in_any_pieces_ends_the_text(s):
    s.ehlo()
    s.mail()
    s.say("DATA", "354")
    for octet in b"Subject: pieces\r\n\r\n..x\r\n.\r\n":
        s.send(bytes([octet]))
        time.sleep(0.001)
    s.hear("250")
    s.expect(delivered(s, b"Subject: pieces\n").endswith(b"\n\n.x\n"), "a text in pieces is another one")


# ---- 4.5.3.1: sizes that must be possible, at least ------------------------------------------------------------------------------------------------------

after_ehlo("rfc5321_4_5_3_1_1_local_part_64", ("MAIL FROM:<%s@client.example>" % ("x" * 64), "250"), ("RCPT TO:<%s@local.example>" % ("x" * 64), "550 5.1.1"),
           ("RCPT TO:<%s@elsewhere.example>" % ("x" * 64), "55[04] 5.7.1"))
LONG_DOMAIN = ".".join(["d" * 59] * 4) + ".example"
after_ehlo("rfc5321_4_5_3_1_2_domain_255", ("MAIL FROM:<a@%s>" % LONG_DOMAIN, "250"))
after_ehlo("rfc5321_4_5_3_1_2_domain_too_long", ("MAIL FROM:<a@%s.%s>" % (LONG_DOMAIN, LONG_DOMAIN), "501 5.1.7"))
after_ehlo("rfc5321_4_5_3_1_3_path_256", ("MAIL FROM:<%s@%s>" % ("x" * 64, "d" * 59 + "." + "d" * 59 + "." + "d" * 59 + ".example"), "250"),
           ("RSET", "250"), ("MAIL FROM:<%s@%s>" % ("x" * 64, ("d" * 60 + ".") * 3 + "e" * 6), "250"))
after_ehlo("rfc5321_4_5_3_1_4_command_line_512", ("NOOP " + "x" * 505, "250"), ("MAIL FROM:<a@client.example>" + " " * 482, "250"))
after_ehlo("rfc5321_4_5_3_1_4_a_line_too_long", ("NOOP " + "x" * 5000, "500 5.5.2", "250", "Postfix takes a line of 5000 octets; limit { command_line } is 4096 here, and 512 are asked for"),
           ("NOOP", "250"))


def rfc5321_4_5_3_1_6_text_lines(s):
    s.ehlo()
    for octets in 998, 1000, 2000:
        s.mail()
        s.text(b"Subject: a line of %d\r\n\r\n" % octets + b"x" * octets + b"\r\n.\r\n")
        s.expect(b"\n" + b"x" * octets + b"\n" in delivered(s, b"Subject: a line of %d\n" % octets), "a line of %d octets was changed" % octets)


def rfc5321_4_5_3_1_7_message_content_64k(s):
    s.ehlo()
    s.mail()
    text = b"Subject: 64K of content\r\n\r\n" + b"0123456789abcdef" * 4 * 1024
    s.text(b"\r\n".join(text[i : i + 998] if i else text[:998] for i in range(0, len(text), 998)) + b"\r\n.\r\n")
    delivered(s, b"Subject: 64K of content\n")


def rfc5321_4_5_3_1_8_recipients(s):
    s = s.again("127.0.0.1")
    s.ehlo()
    s.say("MAIL FROM:<a@client.example>", "250")
    for first in range(0, RECIPIENTS, 100):
        s.send("".join("RCPT TO:<r%d@elsewhere.example>\r\n" % n for n in range(first, first + 100)))
        for _ in range(100):
            s.hear("250 2.1.5")
    s.say("RCPT TO:<one-more@elsewhere.example>", "452 4.5.3")
    s.say("RCPT TO:<one-more@elsewhere.example>", "452 4.5.3")
    s.say("DATA", "354")
    s.say("Subject: x\r\n\r\n.", "250")


def rfc5321_6_3_loops_end(s):
    s.ehlo()
    s.mail()
    s.text(b"Received: by loop.example; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * (HOPS + 1) + b"\r\n.\r\n", "554 5.4")
    s.mail()
    s.text(b"Received: by loop.example; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * (HOPS - 2) + b"\r\n.\r\n", "250")


def rfc5321_4_3_2_421_and_the_end_after_too_many_errors(s):
    s.ehlo()
    heard = []
    for _ in range(102):
        s.send("XYZZY\r\n")
        heard.append(s.reply()[-1])
        if heard[-1].startswith("421"):
            break
    s.expect(heard[-1].startswith("421 4.7.0"), "100 errors, and no 421: %r" % heard[-1])
    s.hear_end()


assert DOMAIN == "local.example"
