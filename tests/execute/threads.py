"""Workers that are threads of this process: what the leader does, without waiting for processes."""

import queue
import threading

from retain.execute.told import Gone, Ready
from retain.execute.worker import Worker


class Thread:
    """A worker as its leader sees it."""

    def __init__(self, staff, name):
        self.name = name
        self.is_dead = False
        self.worker = Worker(staff.assignment, self.tell)
        self.todo = queue.Queue()
        self.staff = staff
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def tell(self, told):
        if not self.is_dead:
            self.staff.told.put((self, told))

    def work(self):
        self.tell(Ready(self.name))
        while (fingerprint := self.todo.get()) is not None:
            self.worker.carry_out(fingerprint)

    def give(self, fingerprint):
        self.staff.given.append((self.name, fingerprint))
        self.todo.put(fingerprint)

    def stop(self):
        self.worker.stop.set()

    def kill(self):
        self.tell(Gone("killed"))
        self.is_dead = True


class Threads:
    """Where they come from."""

    def __init__(self, assignment, most):
        self.assignment = assignment
        self.most = most
        self.told = queue.Queue()
        self.given = []
        self.hired = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for one in self.hired:
            one.stop()
            one.todo.put(None)
        for one in self.hired:
            one.thread.join(5)

    def hire(self):
        self.hired.append(Thread(self, f"thread {len(self.hired)}"))
        return self.hired[-1]

    def listen(self, seconds):
        try:
            yield self.told.get(timeout=seconds)
            while True:
                yield self.told.get_nowait()
        except queue.Empty:
            return
