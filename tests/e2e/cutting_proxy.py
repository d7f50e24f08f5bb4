"""A TCP proxy that ends its connections after some bytes, whatever they are in the middle of: what a
network does to a client, as often as a test wants it.
"""

import random
import selectors
import socket
import struct
import threading


class CuttingProxy:
    """with CuttingProxy(port, cuts_count, seed) as proxy: … connect to proxy.port

    Each of the first `cuts_count` connections is ended after bytes_min to bytes_max bytes from the
    broker, every other one with a reset, which destroys what the client has not read yet. The ones
    after those are left alone. One thread serves all connections.
    """

    def __init__(self, broker_port, cuts_count, seed, bytes_min, bytes_max):
        self.broker_port = broker_port
        self.cuts_left = cuts_count
        self.cuts_count = 0
        self.bytes_min = bytes_min
        self.bytes_max = bytes_max
        self.random = random.Random(seed)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.pairs = []
        self.is_ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, traceback):
        self.is_ending.set()
        self.thread.join()
        for pair in list(self.pairs):
            self._end(pair, is_reset=True)
        self.selector.close()
        self.listener.close()

    def _run(self):
        while not self.is_ending.is_set():
            for key, _ in self.selector.select(timeout=0.05):
                if key.data is None:
                    self._accept()
                elif key.data in self.pairs:  # not ended by an event of the same turn
                    self._forward(key.data, key.fileobj)

    def _accept(self):
        client, _ = self.listener.accept()
        pair = _Pair(client, socket.create_connection(("127.0.0.1", self.broker_port)))
        if self.cuts_left > 0:
            self.cuts_left -= 1
            pair.bytes_left = self.random.randint(self.bytes_min, self.bytes_max)
        self.pairs.append(pair)
        for end in (pair.client, pair.broker):
            self.selector.register(end, selectors.EVENT_READ, pair)

    def _forward(self, pair, source):
        is_from_broker = source is pair.broker
        try:
            data = source.recv(65536)
            if is_from_broker and pair.bytes_left is not None:
                data = data[:pair.bytes_left]
                pair.bytes_left -= len(data)
            (pair.client if is_from_broker else pair.broker).sendall(data)
        except OSError:
            data = b""
        if not data:
            self._end(pair, is_reset=False)
        elif pair.bytes_left == 0:
            self.cuts_count += 1
            self._end(pair, is_reset=self.cuts_count % 2 == 0)

    def _end(self, pair, is_reset):
        self.pairs.remove(pair)
        for end in (pair.client, pair.broker):
            self.selector.unregister(end)
            if is_reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()


class _Pair:
    def __init__(self, client, broker):
        self.client = client
        self.broker = broker
        self.bytes_left = None  # until the cut; None: it is left alone
