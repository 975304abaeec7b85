"""`hello_client.py` and the library's example `hello_server` understand each other."""

import os
import subprocess
import sys
import unittest

from harness import PROGRAM

SERVER = os.path.join(os.path.dirname(PROGRAM), "examples", "hello_server")
CLIENT = os.path.join(os.path.dirname(__file__), "hello_client.py")


class Hello(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(SERVER):
            raise AssertionError(f"{SERVER} is missing; `cargo build --examples -p hikyaku` makes it")
        cls.server = subprocess.Popen([SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.address, cls.host = cls.server.stdout.readline().split()

    @classmethod
    def tearDownClass(cls):
        cls.server.stdin.close()  # it ends with its input
        cls.server.wait(timeout=20)
        cls.server.stdout.close()

    def say(self, address: str, host: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, CLIENT, address, host], capture_output=True, text=True, timeout=60)

    def test_a_client_in_another_language_says_hello(self):
        for _ in range(3):
            said = self.say(self.address, self.host)
            self.assertEqual((said.returncode, said.stdout), (0, "Answered: Hello, Client over tcp\n"), said.stderr)

    def test_another_host_is_refused(self):
        said = self.say(self.address, "a" * 51 + "q")
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("IdentityRefused", said.stderr)

    def test_the_client_is_short(self):
        with open(CLIENT) as source:
            self.assertLessEqual(len(source.readlines()), 40)


if __name__ == "__main__":
    unittest.main()
