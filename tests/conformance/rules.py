"""The rules: functions of a Dialogue whose names begin with RFC and section, and tables of "say this, expect that".

    def rfc5321_4_1_1_5_rset_is_taken_at_any_time(s):           every function of a rfc*.py whose name begins with rfc is a rule
    def xclient_...(s), xforward_...(s):                        in xclient.py: what no RFC says, and Postfix documents
        s.say("RSET", "250")

    table("rfc5321_4_1_1_verbs_in_any_case", ("ehlo client.example", "250"), ("nOOp", "250"))

A step is (line, expected reply), or (line, expected reply, what Postfix replies, why we differ). A new RFC is a new file."""
import glob
import importlib
import inspect
import os

FOLDER = os.path.dirname(os.path.abspath(__file__))
TABLES = {}


def table(name, *steps):
    if name in TABLES:
        raise ValueError("two rules have the name " + name)
    TABLES[name] = lambda s: s.all(*steps)


def after_ehlo(name, *steps):
    """The same, behind EHLO."""
    def run(s):
        s.ehlo()
        s.all(*steps)
    if name in TABLES:
        raise ValueError("two rules have the name " + name)
    TABLES[name] = run


def one_by_one(name, prefix, lines, ending=">"):
    """Each of the lines alone, behind EHLO, prefix in front and ending behind, with RSET between: {text: expected} or {text: (expected, Postfix, why)}."""
    def run(s):
        s.ehlo()
        for text, expected in lines.items():
            if prefix.startswith("RCPT"):
                s.say("MAIL FROM:<a@client.example>", "250")
            s.say(prefix + text + ending, *((expected,) if isinstance(expected, str) else expected))
            s.say("RSET", "250")
    TABLES[name] = run


def all_rules():
    """[(name, function)] in order of their names"""
    found = dict(TABLES)
    for path in sorted(glob.glob(os.path.join(FOLDER, "rfc*.py")) + glob.glob(os.path.join(FOLDER, "xclient.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name, value in vars(module).items():
            if name.startswith(("rfc", "xclient", "xforward")) and inspect.isfunction(value):
                if name in found:
                    raise ValueError("two rules have the name " + name)
                found[name] = value
    found.update(TABLES)
    return sorted(found.items())
