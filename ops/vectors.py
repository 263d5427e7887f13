"""The array that rooms share, apart from the nouns in `types.py`: those start without numpy."""

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float16]
"""(N, D) float16, unit rows as rounded to halfvec, input order, CPU."""
