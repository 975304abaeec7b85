"""Runs every case of `evil_cases.py`: the real program against a server that lies.

What must hold in each: the exit code, something useful and nothing hostile in what is printed, an end within a bound, memory
within a bound, no file outside of the directory that was named, and no message that is neither there nor waiting.
"""

import concurrent.futures
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
import unittest
from dataclasses import dataclass

import evil
import identity
from evil_cases import CASES, Case
from harness import PROGRAM

RESIDENT_KIB = 64 << 10  # the program's peak, debug build included
AT_ONCE = 12  # cases that run together; most of them wait
CALM = 40  # how often a server is connected to at most, unless the case says that it is not calm
HOSTILE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


@dataclass
class Ran:
    """What was seen of one run."""

    exit: int
    out: str
    err: str
    seconds: float
    resident_kib: int
    connections: int
    met: bool
    said: set[tuple[int, int]]
    outside: set[str]
    into: set[str]
    modes: set[int]
    waiting: int


class Evil(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory(prefix="hikyaku-evil-")
        cls.identities = {name: identity.Identity(os.path.join(cls.place.name, name)) for name in ("host", "guest", "impostor")}
        cls.make_odd_hosts()
        pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)
        # The slow ones first: they wait for the program to lose its patience.
        names = sorted(CASES, key=lambda name: -CASES[name].bound)
        cls.running = {name: pool.submit(cls.run_case, name, CASES[name]) for name in names}
        cls.pool = pool

    @classmethod
    def tearDownClass(cls):
        cls.pool.shutdown(cancel_futures=True)
        cls.place.cleanup()

    @classmethod
    def make_odd_hosts(cls) -> None:
        host, impostor = cls.identities["host"], cls.identities["impostor"]
        for name, kind, option in (("rsa", "rsa", "rsa_keygen_bits:2048"), ("p256", "ec", "ec_paramgen_curve:P-256")):
            odd = cls.identities[name] = Files(os.path.join(cls.place.name, name))
            make = ["openssl", "req", "-x509", "-newkey", kind, "-pkeyopt", option, "-nodes", "-subj", "/CN=x"]
            subprocess.run(make + ["-keyout", odd.key, "-out", odd.certificate], check=True, capture_output=True)
        chain = cls.identities["chain"] = Files(os.path.join(cls.place.name, "chain"))
        with open(chain.certificate, "w") as whole:
            for one in (host, impostor):
                with open(one.certificate) as part:
                    whole.write(part.read())
        shutil.copy(host.key, chain.key)

    @classmethod
    def run_case(cls, name: str, case: Case) -> Ran:
        script = dict(case.script)
        if isinstance(script.get("host"), str):
            script["host"] = cls.identities[script["host"]]
        host, guest = cls.identities["host"], cls.identities["guest"]
        server = evil.Evil(host, guest, script)
        root = tempfile.mkdtemp(dir=cls.place.name, prefix="case-")
        home = evil.Home(root, host.id, guest, server.address, case.command[0] != "join")
        with open(os.path.join(home.work, "file"), "wb") as file:
            file.write(evil.BYTES)
        before = home.files()
        try:
            ran = run(case, home)
        finally:
            server.stop()
        left = set(os.listdir(os.path.join(home.work, "into")))
        outside = home.files() - before - {os.path.join("work", "into", entry) for entry in left}
        outside = {path for path in outside if not path.startswith(os.path.join("work", "into") + os.sep)}
        result = Ran(*ran, server.connections, server.met_certificate, set(server.said), outside, left, home.modes(), outbox(home))
        shutil.rmtree(root, ignore_errors=True)
        return result

    def check(self, name: str, case: Case) -> None:
        ran = self.running[name].result()
        told = f"\nexit {ran.exit} after {ran.seconds:.1f} s, {ran.resident_kib >> 10} MiB, {ran.connections} connections\n{ran.out[:800]}\n{ran.err[:2000]}"
        self.assertIn(ran.exit, case.exit if isinstance(case.exit, set) else {case.exit}, told)
        if ran.exit > 0:
            self.assertGreater(len(ran.err.split()), 3, told)
        self.assertIsNotNone(re.search(case.says, ran.err), told)
        if case.prints is not None:
            self.assertRegex(ran.out, "^" + case.prints, told)
        for text in (ran.out, ran.err):
            self.assertNotRegex(text, HOSTILE, told)
        self.assertNotIn("panicked", ran.err, told)
        self.assertLess(ran.seconds, case.bound, told)
        self.assertLess(ran.resident_kib, RESIDENT_KIB, told)
        self.assertEqual(ran.outside, set(), told)
        finished = {entry for entry in ran.into if not entry.startswith(".hikyaku-")}
        self.assertEqual(finished, case.leaves, told)
        self.assertFalse([mode for mode in ran.modes if mode & 0o7000], told)
        if case.waiting is not None:
            self.assertEqual(ran.waiting, case.waiting, f"messages in the outbox{told}")
        if case.calm:
            self.assertLessEqual(ran.connections, CALM, told)
        if case.met is not None:
            self.assertEqual((ran.met, ran.said), (case.met, case.hears), told)
        if case.script.get("host") in ("impostor", "rsa", "p256", "chain"):
            self.assertFalse(ran.met, "the device's certificate was shown to somebody else" + told)


@dataclass
class Files:
    """A key and a certificate that identity.py would not make."""

    path: str

    @property
    def key(self) -> str:
        return self.path + ".key"

    @property
    def certificate(self) -> str:
        return self.path + ".crt"


def run(case: Case, home: evil.Home) -> tuple[int, str, str, float, int]:
    """Runs the program; its exit (negative: the signal), what it printed, its time, its peak of memory."""
    environment = {"PATH": os.environ["PATH"], "HOME": home.root, "HIKYAKU_HOME": home.hikyaku, "LC_ALL": "C.UTF-8"}
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    began = time.monotonic()
    with subprocess.Popen(
        [PROGRAM, "--transport", "tcp", *case.command],
        stdin=subprocess.PIPE, stdout=out, stderr=err, env=environment, cwd=home.work,
    ) as process:  # fmt: skip
        given = {"join": home.link + "\n", "chat": "hello\n"}.get(case.command[0], "")
        try:
            process.stdin.write(given.encode())
            process.stdin.close()
        except BrokenPipeError:
            pass
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident_peak(process.pid))
            if time.monotonic() - began > (case.lasts or case.bound + 10):
                process.terminate() if case.lasts else process.kill()
            time.sleep(0.03)
    seconds = time.monotonic() - began
    texts = []
    for file in (out, err):
        file.seek(0)
        texts.append(file.read().decode(errors="replace"))
        file.close()
    return process.returncode, *texts, seconds, peak


def resident_peak(pid: int) -> int:
    """The most memory the process has had so far. (What wait4 tells begins with the memory of whoever started it.)"""
    try:
        with open(f"/proc/{pid}/status") as status:
            return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1))
    except (OSError, AttributeError):  # it has ended
        return 0


def outbox(home: evil.Home) -> int:
    """How many messages wait, so that none is lost silently."""
    path = os.path.join(home.directory, "server.sqlite")
    if not os.path.exists(path):
        return 0
    with sqlite3.connect(path) as database:
        return database.execute("SELECT count(*) FROM outbox").fetchone()[0]


def add(name: str, case: Case) -> None:
    words = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    assert not hasattr(Evil, f"test_{words}"), words
    setattr(Evil, f"test_{words}", lambda self: self.check(name, case))


for _name, _case in CASES.items():
    add(_name, _case)

if __name__ == "__main__":
    unittest.main()
