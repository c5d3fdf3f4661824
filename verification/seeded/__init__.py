"""Small faults, a file a unit: each bench must fail on a machine that has one."""
