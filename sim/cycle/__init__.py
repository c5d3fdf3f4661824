"""The cycle simulator: runs an encoded image cycle by cycle and rejects what the hardware would not forgive.

In reading order: `program` walks the words of a queue, `timeline` makes of them what each unit does in which cycle,
`access` lists what that touches, `check` and `moved` reject what is illegal, `plan` puts it in order and `execute`
computes the values. `simulator` joins them.

`proof` holds a whole image against every rule, at all positions, without computing values: `dataflow` says which write
each read sees, `rules`, `cache` and `usage` are the rules.
"""

from sim.cycle.program import IllegalProgram
from sim.cycle.simulator import CycleSimulator

__all__ = ["CycleSimulator", "IllegalProgram"]
