# SPDX-License-Identifier: Apache-2.0
#
# Names as it is told: threads with a loop each, files, sockets and functions. observed-hostile.py FILE ARGUMENT...
import ctypes
import json
import os
import select
import socket
import sys
import threading
import types

with open(sys.argv[1], encoding="utf-8") as told:
    names = json.load(told)
held = []


def opener(path):
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def connected(address, own):
    """Both ends of a connection to `address`, from a socket that is called `own`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    client.bind(own)
    client.connect(address)
    return listener, client, listener.accept()[0]


def turn(name):
    ctypes.CDLL(None).prctl(15, ctypes.c_char_p(os.fsencode(name)), 0, 0, 0)  # PR_SET_NAME
    with select.epoll() as epoll:
        while True:
            epoll.poll(0.05)


for path in names["files"]:
    held.append(opener(path))
for name in names["memfds"]:
    held.append(os.memfd_create(name))
for address, own in zip(names["sockets"][::2], names["sockets"][1::2]):
    held.append(connected(address, own))
for address, own in zip(names["abstract"][::2], names["abstract"][1::2]):
    held.append(connected("\0" + address, "\0" + own))
for name in names["functions"]:
    changes = {"co_name": name}
    if hasattr(opener.__code__, "co_qualname"):
        changes["co_qualname"] = name
    held.append(types.FunctionType(opener.__code__.replace(**changes), globals())("/dev/null"))
for name in names["threads"]:
    threading.Thread(target=turn, args=(name,), daemon=True).start()
print("ready", flush=True)
turn("main")
