"""What the package needs only for analysis: numpy, pandas, matplotlib."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def analysis() -> Iterator[None]:
    """Around imports: an ImportError says which extra of the package has them."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{error}: pip install "olmoe[analysis]" brings it',
                          name=error.name) from error
