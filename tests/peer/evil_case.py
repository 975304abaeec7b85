"""What a case of an evil server is; the cases themselves: `evil_connections.py`, `evil_answers.py`, `evil_files.py`.

The exit codes are those of the program's documentation: 1 failure, 3 unreachable, 4 identity refused, 5 denied, 6 not found,
7 corrupt, 8 full, 9 outcome unknown, 11 timeout or limit. A message that the server may have taken must wait in the outbox.
"""

from dataclasses import dataclass, field

import evil
import session
from evil import END, NAME, S, cbor, message, once

HOSTILE_TEXT = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066\r\nhikyaku: all is well\x9b31m"
MANY = 9_007_199_254_740_991


@dataclass
class Case:
    command: list[str]
    script: dict
    exit: int | set[int]
    says: str = ""  # what standard error must match
    prints: str | None = None  # what standard output must match, from its beginning
    bound: float = 20  # seconds until the program has to be over
    waiting: int | None = None  # messages in the outbox afterwards
    lasts: float | None = None  # the command goes on for ever: it is ended after this time
    leaves: set = field(default_factory=set)  # what stands in the directory that files go to
    calm: bool = True  # whether the server is asked only a few times
    met: bool | None = None  # whether the device showed its certificate
    hears: set = field(default_factory=set)  # what was said in handshakes that are made by hand


STATUS = ["status"]
SAY = ["say", NAME, "hello", "--timeout", "3s"]
TAIL = ["tail", NAME, "--after", "0"]
FOLLOW = ["tail", NAME, "-f", "--after", "5"]
GET = ["get", "#lab:2", "--into", "into"]
SEND = ["send", "file", "--to", "#lab"]
JOIN = ["join", "--name", "ana", "--device", "pc", "-"]
LIST = ["room", "list"]

CASES: dict[str, Case] = {}


def case(name: str, *arguments, **named) -> None:
    assert name not in CASES, name
    CASES[name] = Case(*arguments, **named)


def answer(name: str, command: list[str], method: str, act, exits, says="", **more) -> None:
    case(f"{name}, {' '.join(command[: 1 + (command[0] == 'room')])}", command, {method: act}, exits, says, **more)


def failing(*arguments, text="not today, thank you", **named):
    frames = evil.failure(*arguments, text=text, **named)
    return once(frames)


def pages(next_page):
    """A list that is asked for again and again."""
    return lambda guest, stream, value: guest.say(stream, message(next_page(value)) + END, True) if isinstance(value, dict) else None


GOAWAY = S(session.GOAWAY, cbor({0: 0xB, 1: 0, 2: HOSTILE_TEXT}))
