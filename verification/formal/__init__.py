"""Formal proofs of blocks: `python -m verification.formal`."""
