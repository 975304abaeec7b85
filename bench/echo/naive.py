"""The server of a first sockets tutorial: a thread per connection that sends back what it received."""
import socket
import threading


def answer(connection):
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while received := connection.recv(1024):
            connection.sendall(received)


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print("ready {}:{} -".format(*listener.getsockname()), flush=True)
while True:
    accepted, _ = listener.accept()
    threading.Thread(target=answer, args=(accepted,), daemon=True).start()
