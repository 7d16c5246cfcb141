"""gunicorn behind nginx on the same machine, losing no request when it stops.

Debian 13's gunicorn (23.0) drops connections that its threaded worker has accepted but not read from when it is told
to stop, and nginx answers those with 502. nginx sends a request as soon as it has connected, so a connection is
handed to a thread at once; what the threads have no room for waits in the socket, which systemd holds for the next
process.
"""

import errno
from socket import socket
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped] # on machines only


class Worker(ThreadWorker):  # type: ignore[misc] # its types are not known here
    """Every accepted connection is answered, also while stopping."""

    def accept(self, server: Any, listener: socket) -> None:
        try:
            connection, client = listener.accept()
        except OSError as error:
            # Another worker was faster, or the client has gone.
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        self.enqueue_req(TConn(self.cfg, connection, client, server))


worker_class = Worker
threads = 64  # slow requests hold one each, and an idle one costs next to nothing
worker_connections = 64  # no more than there are threads: the rest waits where another worker can take it
keepalive = 0
preload_app = True
timeout = 60
graceful_timeout = 30
worker_tmp_dir = "/dev/shm"  # noqa: S108 - a file without a name, on a disk that never stalls
forwarded_allow_ips = "*"  # only nginx can reach the socket
