"""The compiler. Imported before numpy, it keeps numpy's BLAS to one thread, unless the environment says otherwise.

Calibration multiplies a few rows at a time: threads that wait for one another there cost twenty times what the products
cost (stories15M's shape, two cores). One thread also adds up in the same order on every machine.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
