"""Where the ranks of one machine meet: a store on 127.0.0.1 whose port is taken before anyone hears of it."""

import socket

from torch.distributed import PrefixStore, TCPStore
from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

LOCALHOST = "127.0.0.1"


class Loopback(RendezvousHandler):
    """A rendezvous of one launcher, for torch's elastic agent.

    torch's own c10d rendezvous with port 0 has no race for the port either, but its store listens on every network
    interface of the machine, and anyone who can reach it can write to it.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        with socket.socket() as listener:
            listener.bind((LOCALHOST, 0))
            self._port = listener.getsockname()[1]
            # The store takes the listening socket over, so the port is never free in between.
            self._store = TCPStore(
                LOCALHOST, self._port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
            )

    @property
    def use_agent_store(self) -> bool:
        """True: ranks connect to the launcher's store; none of them opens a port of its own for it."""
        return True

    def get_backend(self) -> str:
        return "loopback"

    def get_run_id(self) -> str:
        return self._run_id

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(PrefixStore("launcher", self._store), 0, 1, RendezvousStoreInfo(LOCALHOST, self._port))

    def num_nodes_waiting(self) -> int:
        return 0

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        """Nobody else could join."""

    def shutdown(self) -> bool:
        return True
