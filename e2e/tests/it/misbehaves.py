"""A web service that misbehaves: by a word on its command line from its start on, and by a path once it is asked to."""

import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time

MODE = sys.argv[1]
ADDRESS = (os.environ["HOST"], int(os.environ["PORT"]))
MEGABYTE = 1024 * 1024
children = []
hoard = []
written = 0


def flood():
    """As fast as somebody reads."""
    global written
    lines = (b"x" * 99 + b"\n") * 600
    while True:
        written += os.write(1, lines)


def eat():
    """Memory, until somebody stops it; a machine without limits is spared."""
    while len(hoard) < 50:
        hoard.append(b"x" * (8 * MEGABYTE))
        time.sleep(0.01)


def leave_children():
    """In sessions of their own; the first without the variables by which it is known, the second with the port."""
    children.append(subprocess.Popen(["/bin/sleep", "1000"], env={}, start_new_session=True).pid)
    reader, writer = os.pipe()
    between = os.fork()
    if between == 0:
        os.setsid()
        daemon = os.fork()
        if daemon == 0:
            while True:
                time.sleep(1000)
        os.write(writer, str(daemon).encode())
        os._exit(0)
    os.waitpid(between, 0)
    children.append(int(os.read(reader, 20)))


def answer(path):
    if path == "/exit":
        os._exit(7)
    if path == "/eat":
        threading.Thread(target=eat, daemon=True).start()
    if path == "/healthcheck" and MODE == "sick":
        return "503 Service Unavailable", "the database is away"
    known = {"/pid": os.getpid(), "/children": " ".join(map(str, children)), "/written": written}
    return "200 OK", str(known.get(path, f"this is {MODE}"))


class Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        while line := self.rfile.readline():
            last = False
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                last |= header.lower().startswith(b"connection: close")
            status, body = answer(line.split()[1].decode())
            head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n\r\n"
            self.wfile.write((head + body).encode())
            if last:
                return


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        """A client that goes away is its own affair."""


print(f"{MODE}: it begins", flush=True)
if MODE == "mute":
    time.sleep(1000)
if MODE == "hung":
    listener = socket.create_server(ADDRESS)
    time.sleep(1000)
if MODE == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
server = Server(ADDRESS, Connection)
if MODE == "parent":
    leave_children()
if MODE == "flood":
    threading.Thread(target=flood, daemon=True).start()
server.serve_forever()
