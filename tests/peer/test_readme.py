"""The table of cases in README.md is the truth: `python test_readme.py --write` makes it anew."""

import importlib
import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).parent
README = HERE / "README.md"
BEGIN, END = "<!-- cases -->\n", "<!-- /cases -->\n"
# What each class of cases is about that the specification and the plan of attack name, and where it stands.
SUITES = (
    ("test_vectors", "Vectors", "the vectors of `spec/vectors`, read and written"),
    ("test_peer", "Peer", "a good peer: enrol, say, tail, deadlines, drain, TLS and identity, with the program on the other end"),
    ("test_grease", "Greasy", "the same by a peer that greases every extension point all the time"),
    ("test_hostile", "Hostile", "forbidden parameters and frames, credit and stream overrun, off-profile messages, strangers, TRUNCATED: the exact code"),
    ("test_hostile", "Limits", "limits that the server says while it runs, at N and N + 1; what it waits for, and how long"),
    ("test_hostile", "Cuts", "a recorded good conversation cut, joined, changed and ended at every byte"),
    ("test_hostile", "Talks", "two whole conversations (enrolling; a message, history and a file) cut off behind every byte"),
    ("test_matrix", "Matrix", "every frame in every state of a connection, a stream, an exchange and a control stream"),
    ("test_matrix", "Limits", "every length and number at limit - 1, limit, limit + 1"),
    ("test_matrix", "OffProfile", "CBOR off the profile as HELLO, GOAWAY, OPEN and ERROR"),
    ("test_abuse", "Abuse", "reset and stop races, order of bytes, floods of everything, GOAWAY, deadline 0 on every method"),
    ("test_evil", "Evil", "an evil server against the program, over TCP (what one may do over QUIC: `evil_quic.rs` of the library's tests): handshake, streams, session, answers, rooms, files, join"),
    ("test_hello", "Hello", "the client of `hello/1` with the example server of the library"),
)  # fmt: skip


def table() -> str:
    rows, total = [], 0
    for module, suite, about in SUITES:
        cases = getattr(importlib.import_module(module), suite)
        count = unittest.defaultTestLoader.loadTestsFromTestCase(cases).countTestCases()
        total += count
        rows.append(f"| {about} | `{module}.{suite}` | {count} |\n")
    return "| what | where | cases |\n|---|---|---|\n" + "".join(rows) + f"| together | | {total} |\n"


class Readme(unittest.TestCase):
    def test_the_table_of_cases_is_true(self):
        text = README.read_text()
        self.assertEqual(text[text.index(BEGIN) + len(BEGIN) : text.index(END)], table(), "python test_readme.py --write mends it")

    def test_every_suite_is_in_the_table(self):
        found = set()
        for path in sorted(HERE.glob("test_*.py")):
            module = importlib.import_module(path.stem)
            suites = unittest.defaultTestLoader.loadTestsFromModule(module)
            found |= {(path.stem, type(case).__name__) for case in flat(suites)}
        self.assertEqual(found - {("test_readme", "Readme")}, {(module, suite) for module, suite, _ in SUITES})


def flat(suite):
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from flat(part)
        else:
            yield part


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        text = README.read_text()
        README.write_text(text[: text.index(BEGIN) + len(BEGIN)] + table() + text[text.index(END) :])
    else:
        unittest.main()
