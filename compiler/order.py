"""Order: in which order each queue takes a section's operations.

List scheduling at one representative bucket: of all operations whose predecessors are placed, the one that can start
first is placed next; ties go to the longer remaining path. The matrix queue keeps the order of the lowering. The order
is then the same at every position, so that one program serves them all.
"""

from __future__ import annotations

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


def order(operations: list[Operation], edges: Edges, bucket: int) -> list[int]:
    """Numbers of the operations in the order of their issue."""
    count = len(operations)
    durations = [operation.accesses(bucket).duration for operation in operations]
    remaining = _remaining(count, edges, durations)
    before: list[int] = [0] * count
    after: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for (earlier, later), separation in edges.items():
        after[earlier].append((later, separation))
        before[later] += 1
    follower = {id(operation.partner): number for number, operation in enumerate(operations) if operation.partner}
    matrix = [number for number, operation in enumerate(operations) if operation.queue == "matrix"]
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
        best: tuple[int, int, int, int] | None = None  # (start, -remaining, number, partner or -1)
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
                candidate = (start, -remaining[number], number, mate)
                if best is None or candidate < best:
                    best = candidate
        if best is None:
            raise CompileError("the operations' dependences are circular")
        start, _, number, mate = best
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
