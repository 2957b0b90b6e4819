"""RFC 2034, 3463: Enhanced Status Codes. That each reply has one, of its class, but for those that must not, is looked at with every reply of every rule
(dialogue.py); here is which."""
from rules import after_ehlo, table

table("rfc2034_4_no_status_for_greeting_helo_ehlo", ("HELO client.example", r"250 (?!2\.\d\.\d)"), ("EHLO client.example", r"250 (?!2\.\d\.\d)"))
after_ehlo("rfc3463_3_2_addresses", ("MAIL FROM:<a@client.example>", r"250 2\.1\.0"), ("RCPT TO:<alice@local.example>", r"250 2\.1\.5"), ("RCPT TO:<nobody@local.example>", r"550 5\.1\.1"),
           ("RCPT TO:<a@b@c>", r"501 5\.1\.3", r"55[04] 5\.7\.1", "Postfix splits at the last @"), ("RCPT TO:<x@elsewhere.example>", r"55[04] 5\.7\.1"))
after_ehlo("rfc3463_3_6_protocol", ("XYZZY", r"50[02] 5\.5\.2"), ("RCPT TO:<alice@local.example>", r"503 5\.5\.1"), ("MAIL FROM:<a@client.example> X=1", r"555 5\.5\.4"),
           ("MAIL", r"501 5\.5\.4"))
after_ehlo("rfc2034_4_data_has_354_without_a_status", ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<alice@local.example>", "250"), ("DATA", r"354 (?!\d\.)"), (".", r"250 2\.0\.0"))
