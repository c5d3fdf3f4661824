"""Order: in which order each queue takes a section's operations.

List scheduling at one representative bucket: of all operations whose predecessors are placed, the one that can start
first is placed next; ties go to the longer remaining path. The matrix queue keeps the order of the lowering. The order
is then the same at every position, so that one program serves them all.
"""

from __future__ import annotations

from itertools import pairwise

from compiler.dependence import Edges
from compiler.ir import CompileError, Operation


def _remaining(count: int, edges: Edges, durations: list[int]) -> list[int]:
    """Length of the longest path from each operation's issue to the end."""
    after: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for (earlier, later), separation in edges.items():
        after[earlier].append((later, separation))
    length = list(durations)
    for number in range(count - 1, -1, -1):
        for later, separation in after[number]:
            length[number] = max(length[number], separation + length[later])
    return length


def _choose(able: list[tuple[int, int, int, int]], operations: list[Operation],
            durations: list[int]) -> tuple[int, int, int, int]:
    """The operation to place next: the first that can start; but a more urgent one of its queue that could start before
    it is over goes first, for nothing interrupts an operation. A matmul with a partner counts as a vector operation."""
    def span(one: tuple[int, int, int, int]) -> tuple[str, int, int]:
        start, _, number, mate = one
        if mate >= 0:
            start, number = start + operations[mate].lag, mate
        return operations[number].queue, start, start + durations[number]

    first = min(able)
    queue, _, end = span(first)
    return min((one for one in able if span(one)[0] == queue and span(one)[1] < end), key=lambda one: one[1:])


def order(operations: list[Operation], edges: Edges, bucket: int, *, patient: bool) -> list[int]:
    """Numbers of the operations in the order of their issue. patient: see `_choose`."""
    count = len(operations)
    durations = [operation.accesses(bucket).duration for operation in operations]
    matrix = [number for number, operation in enumerate(operations) if operation.queue == "matrix"]
    in_turn = {(one, following): durations[one] for one, following in pairwise(matrix)}
    bound = {pair: max(gap, in_turn.get(pair, gap)) for pair, gap in edges.items()}
    remaining = _remaining(count, {**in_turn, **bound}, durations)
    before: list[int] = [0] * count
    after: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for (earlier, later), separation in edges.items():
        after[earlier].append((later, separation))
        before[later] += 1
    follower = {id(operation.partner): number for number, operation in enumerate(operations) if operation.partner}
    next_matrix = 0
    earliest = [0] * count
    free = {"matrix": 0, "vector": 0, "scalar": 0}
    ready: dict[str, list[int]] = {queue: [] for queue in free}
    placed: list[tuple[int, int]] = []

    def offer(number: int) -> None:
        ready[operations[number].queue].append(number)

    for number in range(count):
        if before[number] == 0:
            offer(number)
    while len(placed) < count:
        able: list[tuple[int, int, int, int]] = []  # (start, -remaining, number, partner or -1)
        for queue, numbers in ready.items():
            for number in numbers:
                operation = operations[number]
                if operation.partner is not None or (queue == "matrix" and number != matrix[next_matrix]):
                    continue
                start, mate = max(earliest[number], free[queue]), follower.get(id(operation), -1)
                if mate >= 0:
                    if before[mate] > 0:
                        continue
                    start = max(start, max(earliest[mate], free["vector"]) - operations[mate].lag)
                able.append((start, -remaining[number], number, mate))
        if not able:
            raise CompileError("the operations' dependences are circular")
        start, _, number, mate = _choose(able, operations, durations) if patient else min(able)
        for one, at in ((number, start), (mate, start + operations[mate].lag if mate >= 0 else 0)):
            if one < 0:
                continue
            ready[operations[one].queue].remove(one)
            free[operations[one].queue] = at + durations[one]
            placed.append((at, one))
            next_matrix += operations[one].queue == "matrix"
            for later, separation in after[one]:
                earliest[later] = max(earliest[later], at + separation)
                before[later] -= 1
                if before[later] == 0:
                    offer(later)
    return [number for _, number in sorted(placed)]
