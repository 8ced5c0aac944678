"""Random vectors for blocks between two streams, and what their twins in Python answer."""

import random
from collections import deque


def shift(stages, waiting, ready):
    """A clock edge of registers behind a queue: the word of the first leaves if ``ready``."""
    for n in range(len(stages)):
        ready = ready or stages[n] is None
        if ready and n + 1 < len(stages):
            stages[n] = stages[n + 1]
        elif ready:
            stages[n] = waiting.popleft() if waiting else None


def drive(twin, words, idle, stall, reset=None, tail=10):
    """Offer the words with random pauses, keeping the contract, and take what comes at random.

    A twin answers ``ports(o ready)``, (i ready, o valid, o word, ...), and takes ``clock(word, o
    ready)``; where there is no word it is None. Its ``empty()`` is a twin after reset.

    Returns the vectors (rst, i word or None, o ready), the answers of ``ports`` in every cycle
    but the first, and the words that came since the last reset. After ``reset`` words there is a
    reset, which loses the word that is offered.
    """
    rng, words = random.Random(0), deque(words)
    vectors, answers, received = [(1, None, 0)], [], []
    offer, sent, left = None, 0, tail
    while left:
        rst = sent == reset
        if words and offer is None and rng.random() >= idle:
            offer = words.popleft()
        o_ready = int(rng.random() >= stall)
        vectors.append((int(rst), offer, o_ready))
        answers.append(twin.ports(o_ready))
        i_ready, o_valid, o_word, *_ = answers[-1]
        left -= not words and offer is None and not o_valid
        if rst:
            twin, received, offer, sent = twin.empty(), [], None, sent + 1
            continue
        if o_valid and o_ready:
            received.append(o_word)
        twin.clock(offer, o_ready)
        if offer is not None and i_ready:
            offer, sent = None, sent + 1
    return vectors, answers, received
