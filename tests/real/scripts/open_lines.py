# SPDX-License-Identifier: Apache-2.0
"""Opens descriptors of many kinds, each at a line that says so: "opens KIND [xN] in FUNCTION" (script_frames_test.py)."""
import asyncio
import gzip
import os
import socket
import subprocess
import tempfile
import threading

kept = []


def nested():
    def inner():
        kept.append(os.open("/dev/null", os.O_RDONLY))  # opens device in nested.<locals>.inner
        return 1
    return inner()


class Client:
    def __init__(self):
        self.socket = None

    def connect(self):
        self.socket = socket.socket()  # opens tcp in Client.connect


def in_thread():
    kept.append(os.pipe())  # opens pipe x2 in in_thread


def deep(levels):
    if levels > 0:
        return deep(levels - 1)
    kept.append(open("/etc/passwd", encoding="ascii"))  # opens file in deep
    return 1


def generate():
    yield os.memfd_create("generated")  # opens memfd in generate


async def asynchronous():
    await asyncio.sleep(0)
    kept.append(os.pipe())  # opens pipe x2 in asynchronous


def main():
    assert nested() == 1
    client = Client()
    client.connect()
    kept.append(client)
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    deep(60)
    kept.extend(generate())
    asyncio.run(asynchronous())
    kept.append([os.open(path, os.O_RDONLY) for path in ("/etc/hosts",)])  # opens file in main.<locals>.<listcomp>
    with tempfile.TemporaryDirectory() as directory:
        kept.append(gzip.open(os.path.join(directory, "packed"), "w"))  # opens file in main
        kept.append(directory)  # where Python 3.8 says that the directory is removed
    kept.append(socket.socketpair())  # opens unix x2 in main
    kept.append(os.scandir("/etc"))  # opens directory in main
    kept.append(socket.create_server(("127.0.0.1", 0)))  # opens tcp in main
    with subprocess.Popen(["/bin/true"], stdout=subprocess.PIPE):
        pass
    exec("kept.append(os.open('/dev/zero', os.O_RDONLY))")  # opens device in main
    print("DONE", len(kept))


main()
