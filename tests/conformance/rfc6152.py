"""RFC 6152: 8-bit MIME Transport."""
from rfc5321 import delivered
from rules import after_ehlo

VALUE = "a parameter that is known with a value that is not has 501 here, as with SIZE and RET; RFC 5321 4.1.1.11 has 555 for a parameter that is not known"
after_ehlo("rfc6152_3_body", ("MAIL FROM:<a@client.example> BODY=7BIT", "250"), ("RSET", "250"), ("MAIL FROM:<a@client.example> BODY=8BITMIME", "250"), ("RSET", "250"),
           ("MAIL FROM:<a@client.example> body=8bitmime SIZE=100", "250"))
after_ehlo("rfc6152_3_body_of_another_kind", ("MAIL FROM:<a@client.example> BODY=16BIT", "501 5.5.4", "555 5.5.4", VALUE),
           ("MAIL FROM:<a@client.example> BODY=", "501 5.5.4", "555 5.5.4", VALUE),
           ("MAIL FROM:<a@client.example> BODY", "501 5.5.4", "555", "Postfix takes the word alone for one that it does not know"), ("RCPT TO:<alice@local.example>", "503"))
after_ehlo("rfc6152_3_body_is_of_mail_alone", ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<alice@local.example> BODY=8BITMIME", "555 5.5.4"))


def rfc6152_3_eight_bits_arrive(s):
    for body in "", " BODY=8BITMIME", " BODY=7BIT":
        s.ehlo()
        s.all(("MAIL FROM:<a@client.example>" + body, "250"), ("RCPT TO:<alice@local.example>", "250"))
        mark = b"Subject: eight bits" + body.encode()
        s.text(mark + b"\r\n\r\nh\xc3\xb6h\xe4\r\n.\r\n")
        s.expect(delivered(s, mark + b"\n").endswith(b"\n\nh\xc3\xb6h\xe4\n"), "octets were changed")
