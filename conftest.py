"""Of all tests."""

import compiler  # noqa: F401  (before any test imports numpy: see there)
