#!/usr/bin/python3
"""A Tine worker written from runtime/wire/WIRE.md and transport/zmq/FRAMING.md alone, with pyzmq and msgpack.

usage: worker.py ENDPOINT

It serves functions under names that no C worker has:
  py.outer(a, b)        the outer product of two float32 vectors, a tensor
  py.echo(*args, **kw)  [list of args, dict of kw]
  py.fail(why)          fails, with why
  py.wait(path)         returns if the file is there, else waits until it is cancelled
  py.count(n)           yields 1 … n, as many as are taken; gives how many it has yielded
On SIGTERM it leaves: it gives back what has not begun, and stops when the coordinator says so.
It prints one line to standard output for each of: joined, leaves, stopped.
"""
import array
import os
import signal
import socket
import struct
import sys
import time

import msgpack
import zmq

CHUNK, WINDOW, COST = 1 << 20, 32 << 20, 1024
HELLO, DONE, PONG, EVENTS = 1, 2, 6, 7
WELCOME, REJECT, TASK, DROP, PING, TRACE, STOP, OBJECT, CANCEL, YIELD, PULL = 8, 9, 10, 13, 14, 15, 16, 17, 20, 22, 23
LEAVE = 28
EINVAL, EUNKNOWN, EFAILED, ECANCELED = 1, 3, 4, 7
EXT_TENSOR, EXT_OBJECT, EXT_BYTES = 1, 2, 4
BODY_NONE, BODY_INLINE, BODY_BESIDE = 0, 1, 2  # the last field of a header that may have a body


# ---- framing ----

def table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82f63b78 if byte & 1 else 0)
        yield byte


TABLE = list(table())


def crc32c(parts):
    """Of each part's size, 8 bytes, and its bytes. Packages on PyPI do it faster."""
    crc = 0xffffffff
    for part in parts:
        for byte in struct.pack(">Q", len(part)) + part:
            crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


def hello(chunk, window, flags):
    fields = b"\x01TINE" + struct.pack(">BIIB", 2, chunk, window, flags)
    crc = 0xffffffff
    for byte in fields:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return fields + struct.pack(">I", crc ^ 0xffffffff)


class Connection:
    """Frames over one DEALER socket: whole, or in pieces where they are larger than the peer takes."""

    def __init__(self, endpoint):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.RECONNECT_IVL, 3600000)
        # libzmq 4.3.4 aborts if this timer fires while a connection breaks (its issue 4364)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, 10000)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 20000)
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.leave = None  # is called at a signal, and from then on for what arrives
        self.leaves = False
        self.signalled, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.detach())
        signal.signal(signal.SIGTERM, lambda *_: None)
        self.socket.connect(endpoint)
        self.checked = False  # until the coordinator asks for checksums
        self.socket.send(hello(CHUNK, WINDOW, 0))
        self.ended = False
        self.frames = []  # that came while a send waited for room
        self.read = self.told = self.sent = self.acked = 0  # costs
        self.peer_chunk = None
        while self.peer_chunk is None and not self.ended:
            self.take()
        if self.ended:
            raise SystemExit("the coordinator refused the connection")

    def receive(self):
        """The next frame, (header, buffers), or None when the connection has ended."""
        while not self.frames and not self.ended:
            self.take()
        return self.frames.pop(0) if self.frames else None

    def look(self):
        """Takes what has come, without waiting."""
        while not self.ended and self.socket.poll(0):
            self.take()

    def take(self):
        """One message. Sets `ended` when the connection is gone and nothing that came on it is left to read."""
        while not self.socket.poll(0):
            ready = zmq.select([self.socket, self.monitor, self.signalled], [], [])[0]
            if self.signalled.fileno() in ready:
                self.signalled.recv(64)
                if self.leave:
                    self.leave()
            elif ready == [self.monitor]:
                self.ended = True
                return
        parts = self.socket.recv_multipart()
        kind, rest = parts[0][0], parts[0][1:]
        if self.checked and kind != 1:
            expected, rest = struct.unpack(">I", rest[:4])[0], rest[4:]
            if expected != crc32c([bytes([kind]) + rest, *parts[1:]]):
                raise SystemExit("a message was damaged on its way")
        if kind in (2, 4):
            self.read += sum(map(len, parts[1:])) + COST + (len(rest) if kind == 2 else 0)
            if self.read - self.told > WINDOW // 8:
                self.message(b"\x06" + struct.pack(">Q", self.read))
                self.told = self.read
        if kind == 1:
            _version, self.peer_chunk, self.peer_window, flags = struct.unpack(">BIIB", rest[4:14])
            self.checked = bool(flags & 1)
        elif kind == 2:
            self.frames.append((rest, parts[1:]))
        elif kind == 3:
            rest += b"".join(parts[1:])
            n, = struct.unpack(">I", rest[:4])
            self.sizes = struct.unpack(">%dQ" % (n + 1), rest[4:])
            self.large = bytearray()
        elif kind == 4:
            self.large += parts[1]
            if len(self.large) == sum(self.sizes):
                self.cut()
        elif kind == 5:
            self.ended = True
        if self.leaves and kind in (2, 4):
            self.leave()
        if kind == 6:
            self.acked, = struct.unpack(">Q", rest[:8])

    def cut(self):
        """A large frame is whole: its parts follow one another."""
        parts, at = [], 0
        for size in self.sizes:
            parts.append(bytes(self.large[at:at + size]))
            at += size
        self.frames.append((parts[0], parts[1:]))

    def message(self, first, *others):
        if self.checked:
            first = first[:1] + struct.pack(">I", crc32c([first, *others])) + first[1:]
        self.socket.send_multipart([first, *others])

    def put(self, message, cost):
        while self.sent > self.acked and self.sent - self.acked + cost > self.peer_window and not self.ended:
            self.take()
        self.sent += cost
        self.message(*message)

    def send(self, header, buffers=()):
        parts = [header, *buffers]
        total = sum(map(len, parts))
        if total <= self.peer_chunk:
            self.put([b"\x02" + header, *buffers], total + COST)
            return
        self.message(b"\x03" + struct.pack(">I", len(buffers)) + struct.pack(">%dQ" % len(parts), *map(len, parts)))
        offset = 0
        for part in parts:
            for at in range(0, len(part), self.peer_chunk):
                piece = part[at:at + self.peer_chunk]
                self.put([b"\x04" + struct.pack(">Q", offset), piece], len(piece) + COST)
                offset += len(piece)

    def close(self):
        """Sends BYE last, and waits for the other side's BYE if that has not come."""
        self.message(b"\x05")
        while not self.ended:
            self.take()
        self.socket.disable_monitor()
        self.monitor.close()
        self.socket.close()
        zmq.Context.instance().term()


# ---- values ----

class Tensor:
    """float32 only: what this worker computes with."""

    def __init__(self, shape, data):
        self.shape, self.data = list(shape), data


def mentioned(body):
    """The put values and results that a body mentions."""
    ids = []

    def ext(code, data):
        if code == EXT_OBJECT:
            ids.append(msgpack.unpackb(data)[0])
    msgpack.unpackb(body, ext_hook=ext, raw=False)
    return ids


def decode(body, buffers, objects):
    def ext(code, data):
        items = msgpack.unpackb(data)
        if code == EXT_BYTES:
            return buffers[items[0]]
        if code == EXT_OBJECT:
            return objects[items[0]]
        if code != EXT_TENSOR:
            raise ValueError("modules are not known to this worker")
        if items[0] != 1:
            raise ValueError("this worker computes with float32 only")
        return Tensor(items[2:], array.array("f", buffers[items[1]]))
    return msgpack.unpackb(body, ext_hook=ext, raw=False)


def split(header, buffers):
    """A frame's message: its type and fields, its body if it has one, and the buffers that the body mentions."""
    unpacker = msgpack.Unpacker(raw=False)
    unpacker.feed(header)
    kind, *fields = unpacker.unpack()
    if kind not in (TASK, OBJECT) or fields[-1] == BODY_NONE:
        return kind, fields, None, buffers
    if fields[-1] == BODY_BESIDE:
        return kind, fields, buffers[-1], buffers[:-1]
    return kind, fields, header[unpacker.tell():], buffers


def encode(value):
    """The body and its buffers."""
    buffers = []

    def default(v):
        if not isinstance(v, Tensor):
            raise TypeError("%s is not a value" % type(v).__name__)
        buffers.append(v.data.tobytes())
        return msgpack.ExtType(EXT_TENSOR, msgpack.packb([1, len(buffers) - 1, *v.shape]))
    return msgpack.packb(value, default=default, use_bin_type=True), buffers


# ---- what is served ----

class Failure(Exception):
    pass


def outer(a, b):
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and len(a.shape) == len(b.shape) == 1):
        raise TypeError("py.outer() takes two vectors")
    return Tensor([len(a.data), len(b.data)], array.array("f", [x * y for x in a.data for y in b.data]))


def echo(*args, **kw):
    return [list(args), kw]


def fail(why):
    raise Failure(why)


class Missing:
    """Instead of a value: why there is none."""

    def __init__(self, status, text):
        self.answer = status, text, None, []


class Cancelled(Exception):
    pass


def wait(path):
    while not os.path.exists(path):
        if current.cancelled():
            raise Cancelled("py.wait was cancelled")
        if current.connection.ended:
            raise SystemExit("the connection has ended")
        current.connection.take()
    return path


def count(n):
    for i in range(1, n + 1):
        if not current.yields(i):
            break
    return current.yielded


class Current:
    """The task that runs: whether a CANCEL of it has come, and what it yields."""

    connection = task = None

    def begin(self, task, attempt, epoch):
        self.task, self.attempt, self.epoch, self.yielded, self.limit = task, attempt, epoch, 0, 1

    def pulled(self):
        """Takes the PULLs of the task out of what has come."""
        kept = []
        for frame in self.connection.frames:
            kind, fields, _body, _buffers = split(*frame)
            if kind == PULL and fields[0] == self.task:
                self.limit = max(self.limit, fields[2]) if fields[2] else 0
            else:
                kept.append(frame)
        self.connection.frames = kept

    def yields(self, value):
        """False: nobody takes it. A worker that ran several tasks would send SUSPEND, and run another one."""
        while not (over := self.cancelled() or self.connection.ended):
            self.pulled()  # what cancelled() has received
            if self.limit == 0 or self.limit > self.yielded:
                break
            self.connection.take()
        if over or self.limit == 0:
            return False
        self.yielded += 1
        body, buffers = encode(value)
        header = [YIELD, self.task, self.attempt, self.epoch, 0, self.yielded, BODY_INLINE]
        self.connection.send(msgpack.packb(header) + body, buffers)
        return True

    def cancelled(self):
        self.connection.look()
        return any(split(*frame)[:2] == (CANCEL, [self.task, *split(*frame)[1][1:]]) for frame in self.connection.frames)


current = Current()
FUNCTIONS = {"py.outer": outer, "py.echo": echo, "py.fail": fail, "py.wait": wait, "py.count": count}


def run(name, body, buffers, objects):
    """status, text, body, buffers"""
    if current.cancelled():
        return ECANCELED, "it was cancelled before it started", None, []
    if name not in FUNCTIONS:
        return EUNKNOWN, "this worker does not serve " + name, None, []
    try:
        args, kw = decode(body, buffers, objects)
        return (0, None, *encode(FUNCTIONS[name](*args, **kw)))
    except Cancelled as e:
        return ECANCELED, str(e), None, []
    except Failure as e:
        return EFAILED, str(e), None, []
    except (TypeError, ValueError) as e:
        return EINVAL, str(e), None, []


def main():
    c = Connection(sys.argv[1])
    c.send(msgpack.packb([HELLO, "tine", 3, os.getpid(), -1, socket.gethostname(), os.environ.get("TINE_TOKEN", ""), "",
                          sorted(FUNCTIONS), [], [l for l in os.environ.get("TINE_LABELS", "").split(",") if l],
                          os.environ.get("TINE_SLOTS", "")]))
    objects = {}  # values that tasks mention, by their ids
    tasks = []  # that have not run: fields, body, buffers

    def run_tasks():
        """Those whose values are all here. A value whose object has failed fails its task."""
        for item in tasks[:]:
            (task, attempt, epoch, _depth, _flow, name, _method, _object, _result, _place), body, buffers = item
            ids = mentioned(body)
            if not all(i in objects for i in ids):
                continue
            tasks.remove(item)
            current.connection = c
            current.begin(task, attempt, epoch)
            begin = time.monotonic_ns()
            failed = [objects[i] for i in ids if isinstance(objects[i], Missing)]
            status, text, result, out = failed[0].answer if failed else run(name, body, buffers, objects)
            ran = time.monotonic_ns() - begin
            place = BODY_NONE if result is None else BODY_INLINE
            sent = current.yielded
            c.send(msgpack.packb([DONE, task, attempt, epoch, status, ran, sent, text, 0, place]) + (result or b""), out)

    returned = {}  # tasks that were given back, by their ids

    def give_back(items):
        returned.update((item[0][0], item) for item in items)
        c.send(msgpack.packb([LEAVE, [item[0][0] for item in items]]))

    def leave():
        """Also while a task waits: then tasks behind it have been received, and not looked at."""
        waiting = [(frame, split(*frame)) for frame in c.frames]
        items = [message[1:] for _, message in waiting if message[0] == TASK]
        c.frames = [frame for frame, message in waiting if message[0] != TASK]
        if not c.leaves:
            items += tasks
            tasks.clear()
            print("leaves", flush=True)
        if items or not c.leaves:
            give_back(items)
        c.leaves = True
    c.leave = leave

    while (frame := c.receive()) is not None:
        kind, fields, body, buffers = split(*frame)
        if kind == WELCOME:
            print("joined", fields[0], flush=True)
        elif kind == REJECT:
            raise SystemExit("rejected: " + fields[0])
        elif kind == TASK:
            tasks.append((fields, body, buffers))
            run_tasks()
        elif kind == LEAVE:  # their arguments are not at the coordinator any more
            tasks.extend(returned.pop(ident) for ident in fields[0] if ident in returned)
            run_tasks()
        elif kind == OBJECT:
            ident, _task, status, text, _place = fields
            try:
                objects[ident] = decode(body, buffers, objects) if status == 0 else Missing(status, text)
            except (KeyError, ValueError) as e:
                objects[ident] = Missing(EINVAL, "this worker does not read values inside put values: %s" % e)
            run_tasks()
        elif kind == CANCEL:
            for item in [i for i in tasks if i[0][0] == fields[0]]:
                tasks.remove(item)
                c.send(msgpack.packb([DONE, *item[0][:3], ECANCELED, 0, 0, "it was cancelled before it started", 0, BODY_NONE]))
        elif kind == DROP:
            for ident in fields[0]:
                objects.pop(ident, None)
        elif kind == PING:
            c.send(msgpack.packb([PONG, fields[0], time.monotonic_ns(), 0, 0, 0, []]))
        elif kind == TRACE and fields[0] == 2:
            c.send(msgpack.packb([EVENTS, BODY_INLINE]) + b"\xc4\x00")
        elif kind == STOP:
            break
    c.close()
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
