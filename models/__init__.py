"""Checkpoints trained for OpenLPU, the story generator they were trained on, and the checker that judges them."""
