"""The peer and the program understand each other: HIKYAKU_BIN=…/hikyaku python -m unittest test_peer"""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import unittest

import client
import identity
import qmux
import session
from harness import Raw, Watched, control


class Peer(Watched, unittest.TestCase):
    def connect(self) -> client.Client:
        peer = self.server.connect()
        self.addCleanup(peer.close)
        return peer

    def member(self, who: str) -> str:
        """Lets the program itself join as somebody, with an invite of the operator's."""
        link = self.server.run("server", "invite", "create", "--data", self.server.data).strip()
        self.server.run(who, "join", "--name", who, "--device", "pc", "-", stdin=link + "\n")
        return who

    # --- chat --------------------------------------------------------------------------------------------------------

    def test_what_was_said_is_read_in_order_and_once(self):
        peer = self.connect()
        peer.create_room("order")
        self.assertEqual([peer.say("order", f"message {n}") for n in range(1, 21)], list(range(1, 21)))
        events = list(peer.tail("order", after=5))
        self.assertEqual([event.seq for event in events], list(range(6, 21)))
        self.assertEqual([event.body for event in events], [f"message {n}".encode() for n in range(6, 21)])
        self.assertEqual({event.author for event in events}, {"ana"})

    def test_the_same_id_is_the_same_message(self):
        peer = self.connect()
        peer.create_room("again")
        key = os.urandom(16)
        self.assertEqual(peer.say("again", "once", key), peer.say("again", "once", key))
        with self.assertRaises(session.Failure) as caught:
            peer.say("again", "twice", key)
        self.assertEqual(caught.exception.code, 0x1100)  # ID_REUSED
        self.assertEqual(len(list(peer.tail("again"))), 1)

    def test_a_follower_sees_what_another_connection_says(self):
        reader, writer = self.connect(), self.connect()
        writer.create_room("live")
        writer.say("live", "before")
        events = reader.tail("live", follow=True)
        self.assertEqual(next(events).body, b"before")
        writer.say("live", "after")
        self.assertEqual(next(events).body, b"after")

    def test_the_program_reads_what_the_peer_says(self):
        who, peer = self.member("bob"), self.connect()
        peer.create_room("from-peer")
        for text in ("first", "zwei 飛脚", "third"):
            peer.say("from-peer", text)
        lines = self.server.run(who, "--transport", "tcp", "tail", "from-peer", "--json").splitlines()
        events = [json.loads(line) for line in lines]
        self.assertEqual([event["seq"] for event in events], [1, 2, 3])
        self.assertTrue("zwei 飛脚" in json.dumps(events[1], ensure_ascii=False))

    def test_the_peer_reads_what_the_program_says(self):
        who, peer = self.member("eve"), self.connect()
        peer.create_room("from-program")
        for transport in ("tcp", "quic"):
            self.server.run(who, "--transport", transport, "say", "from-program", f"over {transport} 飛脚")
        events = list(peer.tail("from-program"))
        self.assertEqual([event.body.decode() for event in events], ["over tcp 飛脚", "over quic 飛脚"])
        self.assertEqual({event.author for event in events}, {"eve"})

    # --- enrolling and identity ----------------------------------------------------------------------------------------

    def test_an_invite_is_redeemed_again_by_the_same_device_only(self):
        link = self.server.run("server", "invite", "create", "--data", self.server.data).strip()
        device, other = self.server.new_device("dan"), self.server.new_device("thief")
        client.enrol(link, device, "dan", "pc")
        client.enrol(link, device, "dan", "pc")  # the first answer may have been lost (S6.27)
        with self.assertRaises(session.Failure) as caught:
            client.enrol(link, other, "thief", "pc")
        self.assertEqual(caught.exception.code, 0x1002)  # INVITE_USED

    def test_a_wrong_secret_and_an_unknown_invite_are_answered_alike(self):
        link = self.server.run("server", "invite", "create", "--data", self.server.data).strip()
        before, invite, secret = link.rsplit(".", 2)
        wrong = identity.show(bytes(b ^ 1 for b in identity.parse(secret, 16)))
        nobody = identity.show(bytes(8))
        device, answers = self.server.new_device("guess"), []
        for guess in (f"{before}.{invite}.{wrong}", f"{before}.{nobody}.{secret}"):
            with self.assertRaises(session.Failure) as caught:
                client.enrol(guess, device, "guess", "pc")
            answers.append((caught.exception.code, caught.exception.retry, caught.exception.message))
        self.assertEqual(answers[0], answers[1])

    def test_the_key_of_a_host_is_checked_before_anything_is_sent(self):
        """By the id, on the first connection, and by OpenSSL, inside the handshake, on the second (S1.8)."""
        with self.assertRaises(identity.IdentityRefused):
            client.Client(self.server.address, bytes(32), self.server.device)
        impostor, met = self.server.new_device("impostor"), []
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=meet, args=(listening, impostor, self.server.device, met))
            thread.start()
            with self.assertRaises(ssl.SSLCertVerificationError):
                client.connect_tls(listening.getsockname(), self.server.pinned, self.server.device)
            thread.join()
            # The same server, rightly pinned, does get the certificate: it is able to.
            thread = threading.Thread(target=meet, args=(listening, impostor, self.server.device, met))
            thread.start()
            pinned = impostor.der()
            client.connect_tls(listening.getsockname(), pinned, self.server.device).close()
            thread.join()
        self.assertEqual(met, [None, self.server.device.id])

    def test_the_hello_client_speaks(self):
        """Against a server that does not know it, which is the answer it must get (S6.20)."""
        address = f"{self.server.address[0]}:{self.server.address[1]}"
        program = os.path.join(os.path.dirname(__file__), "hello_client.py")
        done = subprocess.run(
            [sys.executable, program, address, identity.show(self.server.host_id)], capture_output=True, text=True
        )
        self.assertIn(f"{session.ENROLL_REQUIRED:#x}", done.stderr)

    # --- TLS -----------------------------------------------------------------------------------------------------------

    def handshake(self, change=lambda context: None, device: bool = True, name: str | None = None) -> ssl.SSLSocket:
        """A handshake with something else about it, and a byte read, since the server's alert comes after it."""
        context = client.tls_context(self.server.pinned, self.server.device if device else None)
        change(context)
        plain = socket.create_connection(self.server.address, 10)
        self.addCleanup(plain.close)
        tls = context.wrap_socket(plain, server_hostname=name)
        self.addCleanup(tls.close)
        tls.recv(1)
        return tls

    def test_no_certificate_no_connection(self):
        with self.assertRaisesRegex(ssl.SSLError, "(?i)certificate.required"):
            self.handshake(device=False)

    def test_a_certificate_of_another_kind_of_key_is_refused(self):
        for kind in (["rsa", "rsa_keygen_bits:2048"], ["ec", "ec_paramgen_curve:P-256"]):
            with self.subTest(kind[0]):
                path = os.path.join(self.server.home.name, kind[0])
                subprocess.run(
                    ["openssl", "req", "-x509", "-newkey", kind[0], "-pkeyopt", kind[1], "-nodes", "-subj", "/CN=x"]
                    + ["-keyout", path + ".key", "-out", path + ".crt"],
                    check=True,
                    capture_output=True,
                )
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    self.handshake(lambda context: context.load_cert_chain(path + ".crt", path + ".key"), device=False)

    def test_a_chain_of_two_certificates_is_refused(self):
        path = os.path.join(self.server.home.name, "chain.crt")
        with open(path, "w") as chain:
            for one in (self.server.device, self.server.new_device("second")):
                with open(one.certificate) as file:
                    chain.write(file.read())
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            self.handshake(lambda context: context.load_cert_chain(path, self.server.device.key), device=False)

    def test_tls_1_2_is_refused(self):
        def older(context: ssl.SSLContext) -> None:
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2

        with self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
            self.handshake(older)

    def test_another_application_protocol_is_refused(self):
        for names in (["h2"], ["hikyaku/1"], ["hikyaku/1-qx03"]):
            with self.subTest(names=names), self.assertRaisesRegex(ssl.SSLError, "(?i)no.application.protocol"):
                self.handshake(lambda context: context.set_alpn_protocols(names))

    def test_one_name_in_common_is_enough(self):
        names = ["h2", client.ALPN, "http/1.1"]
        tls = self.handshake(lambda context: context.set_alpn_protocols(names))
        self.assertEqual(tls.selected_alpn_protocol(), client.ALPN)

    def test_no_ticket_is_given(self):
        tls = self.handshake()
        self.assertFalse(tls.session.has_ticket)

    # --- streams and session -----------------------------------------------------------------------------------------

    def test_parameters_hello_and_datagrams_are_as_the_specification_says(self):
        peer = self.connect()
        self.assertGreaterEqual(peer.connection.theirs[qmux.MAX_DATAGRAM_FRAME_SIZE], 1_200)  # S2.5
        limits = peer.session.hello[0]
        self.assertGreaterEqual(limits[0], 65_536)  # S3.30
        self.assertGreaterEqual(limits[1], 4_096)
        self.assertLessEqual(limits[2], 1_000)

    def test_a_stranger_gets_little_credit(self):
        with client.Client(self.server.address, self.server.host_id, self.server.new_device("poor")) as peer:
            theirs = peer.connection.theirs
            self.assertLessEqual(theirs[qmux.INITIAL_MAX_DATA], 16_384)  # S6.22
            self.assertEqual((theirs[qmux.INITIAL_MAX_STREAMS_BIDI], theirs[qmux.INITIAL_MAX_STREAMS_UNI]), (1, 1))

    def test_grease_in_every_place_at_once(self):
        peer = self.connect()
        raw = Raw(self.server)
        self.addCleanup(raw.close)
        grease = [(0x1F * 50 + 27, b"grease"), *qmux.OURS.items(), (0x1F << 50 | 27, b"")]
        raw.write(qmux.record(qmux.encode_parameters(grease), bytes(5)))
        hello = {0: {0: 65_536, 1: 4_096, 2: 0, 0x21: [1]}, 1: [0x21, 0x40, 1 << 50], 2: "grease", 0x5F: {0x7E: None}}
        encode = session.cbor_profile.encode
        raw.stream(2, b"\0" + session.frame(0x21, b"x") + control(encode(hello))[1:] + session.frame(0x40, b"y" * 999))
        self.assertTrue(raw.granted(2))
        raw.stream(6, b"\x21some stream type of the future")
        raw.until(lambda: 6 in raw.stops)
        self.assertEqual(raw.stops[6], session.UNKNOWN_STREAM_TYPE)
        raw.frames(qmux.frame(0x30) + b"\x09grease", qmux.frame(qmux.PING, 77))
        raw.frames(qmux.frame(qmux.RESET_STREAM, 6, 0x1F * 3 + 0x21, raw.offsets[6]))
        self.assertTrue(raw.lives(0))
        self.assertTrue(peer.call("accounts/1", "whoami", {0x21: "grease", 0x1F * 9 + 0x21: {1: [None]}}))

    def test_many_exchanges_at_once(self):
        peer = self.connect()
        exchanges = []
        while len(exchanges) < 200:  # a server may allow more only when those it allowed are open
            if len(exchanges) < peer.connection.may_open[0]:
                exchanges.append(peer.session.open("accounts/1", "whoami"))
            else:
                peer.flush()
                peer.pump()
        for exchange in reversed(exchanges):
            peer.session.send(exchange, {})
            peer.session.end(exchange)
        self.assertEqual({peer.receive(exchange)[1] for exchange in exchanges}, {"ana"})

    def test_a_cancelled_exchange_leaves_the_others_alone(self):
        peer = self.connect()
        exchange = peer.session.open("chat/1", "sync")
        peer.flush()
        peer.session.cancel(exchange)
        self.assertEqual(peer.call("accounts/1", "whoami", {})[1], "ana")
        with self.assertRaises(session.Reset) as caught:
            peer.receive(exchange)
        self.assertEqual(caught.exception.code, session.CANCELLED)  # S2.27: the code of our STOP_SENDING

    def test_a_deadline_ends_what_would_go_on_for_ever(self):
        peer = self.connect()
        exchange = peer.session.open("chat/1", "sync", deadline=100)
        with self.assertRaises(session.Failure) as caught:
            peer.receive(exchange)
        self.assertEqual(caught.exception.code, session.DEADLINE_EXCEEDED)

    def test_goaway_lets_what_is_open_finish_and_then_closes(self):
        goaway = session.frame(session.GOAWAY, session.cbor_profile.encode({0: 0, 1: 5_000, 2: "that was all"}))
        for attempt in range(20):  # GOAWAY follows so closely that a server may see it before it sees the exchange
            with self.subTest(attempt=attempt):
                peer = self.connect()
                exchange = peer.session.open("accounts/1", "whoami")
                peer.session.send(exchange, {})
                peer.session.end(exchange)
                peer.connection.write(peer.session.control, goaway)
                self.assertEqual(peer.receive(exchange)[1], "ana")
                with self.assertRaises(client.ConnectionClosed) as caught:
                    while True:
                        peer.pump()
                closed = caught.exception.closed
                self.assertEqual((closed.application, closed.code), (True, session.NO_ERROR))

    def test_a_revoked_device_is_hung_up_on(self):
        link = self.server.run("server", "invite", "create", "--data", self.server.data).strip()
        device = self.server.new_device("lost")
        client.enrol(link, device, "lost", "phone")
        lost = self.server.connect(device)
        self.addCleanup(lost.close)
        lost.call("accounts/1", "device.revoke", {0: device.id})
        with self.assertRaises(client.ConnectionClosed) as caught:
            while True:
                lost.pump()
        self.assertEqual(caught.exception.closed.code, 0x09)  # REVOKED
        with self.server.connect(device) as stranger, self.assertRaises(session.Failure) as caught:
            stranger.call("accounts/1", "whoami", {})
        self.assertEqual(caught.exception.code, session.ENROLL_REQUIRED)


def meet(listening: socket.socket, server: identity.Identity, caller: identity.Identity, met: list) -> None:
    """One handshake as a server that asks for a certificate; adds the id of who was met, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= client.NO_CHECK_TIME | client.PARTIAL_CHAIN
    context.load_verify_locations(caller.certificate)
    context.set_alpn_protocols([client.ALPN])
    plain, _ = listening.accept()
    with plain:
        try:
            with context.wrap_socket(plain, server_side=True) as tls:
                met.append(identity.key_id(tls.getpeercert(binary_form=True)))
        except (ssl.SSLError, ConnectionError):
            met.append(None)


if __name__ == "__main__":
    unittest.main()
