"""Says hello to a server of `hello/1`: python hello_client.py ADDRESS:PORT HOST_ID"""

import sys
import tempfile

from client import Client
from identity import Identity, parse


def main() -> None:
    host, _, port = sys.argv[1].rpartition(":")
    with tempfile.TemporaryDirectory() as keys:
        device = Identity(keys)
        with Client((host.strip("[]"), int(port)), parse(sys.argv[2], 32), device) as client:
            print("Answered:", client.call("hello/1", "", "Hello, Server"))


if __name__ == "__main__":
    main()
