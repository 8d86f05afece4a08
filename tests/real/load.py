# SPDX-License-Identifier: Apache-2.0
"""Bounded loads: so many connections, so many requests, every answer checked, then all is closed.

They run in the test's process, which is not observed.
"""

import socket
import ssl
import threading

TIMEOUT = 10


def connect(port):
    client = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_exactly(client, size):
    text = b""
    while len(text) < size:
        more = client.recv(size - len(text))
        if not more:
            raise AssertionError(f"the server hung up after {text!r}, {size} bytes were due")
        text += more
    return text


def read_until(client, end):
    text = b""
    while end not in text:
        more = client.recv(4096)
        if not more:
            raise AssertionError(f"the server hung up after {text!r}, {end!r} was due")
        text += more
    return text


def hung_up(client):
    """Waits until the server has closed its side too, so that its close is in the account before the test goes on."""
    client.shutdown(socket.SHUT_WR)
    while client.recv(4096):
        pass
    client.close()


def echo(port, clients=20, messages=10, tls=None):
    """clients connections at once, each sends messages one by one; all at once each round: several are ready in a wait."""
    crowd = [connect(port) for _ in range(clients)]
    if tls:
        crowd = [tls.wrap_socket(client) for client in crowd]
    for number in range(messages):
        text = f"message {number} of {messages}\n".encode()
        for client in crowd:
            client.sendall(text)
        for client in crowd:
            answer = read_exactly(client, len(text))
            if answer != text:
                raise AssertionError(f"{answer!r} came back for {text!r}")
    for client in crowd:
        if tls:
            client.close()
        else:
            hung_up(client)


def http(port, paths, connections=10, requests=10, keep_alive=True):
    """requests a connection, or a connection each. Returns the bodies' sizes in all."""
    size = 0
    crowd = [connect(port) for _ in range(connections)] if keep_alive else [None] * connections
    for number in range(requests):
        path = paths[number % len(paths)]
        for index in range(connections):
            client = crowd[index] or connect(port)
            how = "keep-alive" if keep_alive else "close"
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {how}\r\n\r\n".encode())
            head, body = read_until(client, b"\r\n\r\n").split(b"\r\n\r\n", 1)
            if not head.startswith(b"HTTP/1.1 200"):
                raise AssertionError(f"{path}: {head.decode(errors='replace')}")
            lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
            if len(lengths) != 1:
                raise AssertionError(f"{path} has no length: {head.decode(errors='replace')}")
            body += read_exactly(client, lengths[0] - len(body))
            size += len(body)
            if not keep_alive:
                hung_up(client)
    for client in crowd:
        if client:
            hung_up(client)
    return size


def dialogue(port, exchanges, clients=10):
    """Each client sends each (request, answer's bytes), pipelined in one write; the answers must come in order."""
    crowd = [connect(port) for _ in range(clients)]
    request = b"".join(pair[0] for pair in exchanges)
    due = b"".join(pair[1] for pair in exchanges)
    for client in crowd:
        client.sendall(request)
    for client in crowd:
        answer = read_exactly(client, len(due))
        if answer != due:
            raise AssertionError(f"{answer!r} instead of {due!r}")
    for client in crowd:
        hung_up(client)


class EchoServer:
    """What proxies are put in front of: a thread for each connection, in the test's process."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    @staticmethod
    def answer(client):
        with client:
            try:
                while True:
                    text = client.recv(4096)
                    if not text:
                        return
                    client.sendall(text)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def trusting():
    """A TLS client that believes any certificate: the test made the server's a moment ago."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
