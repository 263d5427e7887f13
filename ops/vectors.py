"""The array type of embeddings, apart from `ops.types`, which imports no numpy."""

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float16]
"""(N, D) float16 on the CPU: unit rows, rounded as in a halfvec column, in input order."""
