"""Stable hash of an id within a namespace: a draw that depends on neither order, process nor machine."""

import hashlib


def stable_hash(namespace: str, name: str) -> bytes:
    """32 bytes that look random, the same for ever: the sha256 of namespace, blank and name.

    Recorded splits and draws depend on these values, so neither the formula nor a namespace in use may change.
    """
    return hashlib.sha256(f"{namespace} {name}".encode()).digest()
