"""Links: connections to a manager's server whose arrays and tables stay where they are.

A link is one of `multiprocessing`'s connections.  When the two sides have shown each other that
they know the key, which is the standard library's business, the server tells the client
its segment and its post; a client that is no member of the family gets the segment's descriptor
and joins.  From then on objects go as letters of that post.
"""

from __future__ import annotations

import os
import pickle
from multiprocessing import connection, reduction
from typing import Any

from engine import system
from engine.channel.post import Post
from engine.memory.families import find_family, join_family

__all__ = ["LinkClient", "LinkListener", "serve_by"]

# What a client answers.
_MEMBER, _STRANGER = b"member", b"stranger"


class Link:
    """One side of a link, as far as managers and their proxies use a connection.

    Parameters
    ----------
    end : multiprocessing.connection.Connection
    post : Post, optional
        The server's.  A client asks for it.
    """

    def __init__(self, end: Any, post: Post | None = None) -> None:
        self._end = end
        self._post = post
        self._is_client = post is None
        self._is_met = False
        self.send_bytes = end.send_bytes
        self.recv_bytes = end.recv_bytes
        self.fileno = end.fileno
        self.poll = end.poll
        self.close = end.close

    def send(self, obj: Any) -> None:
        """Send an object."""
        self._meet().send(obj, self._end.send_bytes)

    def recv(self) -> Any:
        """Receive an object; waits for one."""
        return self._meet().receive(self._end.recv_bytes)

    def _meet(self) -> Post:
        """Agree on a post, the first time."""
        if not self._is_met:
            if self._is_client:
                self._post = _ask(self._end)
            else:
                _tell(self._end, self._post)
            self._is_met = True
        assert self._post is not None  # noqa: S101 - for type checkers
        return self._post


def _tell(end: Any, post: Any) -> None:
    """Tell a client which family it talks to."""
    family = post.family
    identity = system.segment_identity(family.fd)
    end.send_bytes(pickle.dumps((identity, family.nbytes, post.handle)))
    if end.recv_bytes() == _STRANGER:
        # The process number is not needed where descriptors go through sockets.
        reduction.send_handle(end, family.fd, os.getpid())


def _ask(end: Any) -> Post:
    """Learn from the server which family that is, and be a member of it."""
    identity, nbytes, handle = pickle.loads(end.recv_bytes())  # noqa: S301 - it knows the key
    family = find_family(identity)
    end.send_bytes(_MEMBER if family else _STRANGER)
    if family is None:
        family = join_family(reduction.recv_handle(end), nbytes)
    return Post.borrowed(family, handle)


_posts: list[Post] = []


def serve_by(post: Post) -> None:
    """Have listeners that this process makes serve by a post, in whose segment all is then."""
    _posts[:] = [post]


class LinkListener(connection.Listener):
    """Where the links to a server come in."""

    def __init__(self, address: Any = None, backlog: int = 1) -> None:
        super().__init__(address=address, backlog=backlog)
        self._post = _posts[0] if _posts else Post()

    def accept(self) -> Any:
        """Wait for the next link."""
        return Link(super().accept(), self._post)


def LinkClient(address: Any, authkey: bytes | None = None) -> Any:  # noqa: N802 - stands for one
    """Make a link to a server."""
    return Link(connection.Client(address, authkey=authkey))
