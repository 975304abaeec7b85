"""The whole suite of the peer once more, by a peer that greases everything (`greasy.py`)."""

import unittest

import client
import greasy
import test_peer


class Greasy(test_peer.Peer):
    @classmethod
    def setUpClass(cls):
        cls.plain, client.Client = client.Client, greasy.Client
        try:
            super().setUpClass()
        except BaseException:
            client.Client = cls.plain
            raise

    @classmethod
    def tearDownClass(cls):
        client.Client = cls.plain
        super().tearDownClass()

    def test_it_is_the_greasy_one(self):
        peer = self.connect()
        self.assertIsInstance(peer, greasy.Client)
        self.assertNotEqual(peer.session.noise.keys({0: {}}), {0: {}})


def load_tests(loader, _tests, _pattern):
    """Not `Peer` again, which this module knows as well."""
    return loader.loadTestsFromTestCase(Greasy)


if __name__ == "__main__":
    unittest.main()
