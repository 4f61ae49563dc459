"""Build prefixlens's block trees of groups of token sequences; runs in the peer's environment.

python prefixlens_run.py FILE

FILE: little-endian uint32: the number of groups, the number of sequences, then a group number and a
length for each sequence, then all ids. Prints seconds and blocks as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from array import array

from prefixlens.hashing import block_hash_chain
from prefixlens.tree import RadixTree

BLOCK = 16

data = array("I")
with open(sys.argv[1], "rb") as file:
    data.frombytes(file.read())
n_groups, n = data[0], data[1]
heads = [(data[2 + 2 * i], data[3 + 2 * i]) for i in range(n)]
place, sequences = 2 + 2 * n, []
for group, length in heads:
    sequences.append((group, tuple(data[place : place + length])))
    place += length
wall, cpu = time.perf_counter(), time.process_time()
trees = [RadixTree() for _ in range(n_groups)]
for now, (group, ids) in enumerate(sequences):
    trees[group].match_and_insert(block_hash_chain(ids, BLOCK), now)
blocks = sum(map(len, trees))
print(
    json.dumps(
        {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "tree_blocks": blocks,
        }
    )
)
