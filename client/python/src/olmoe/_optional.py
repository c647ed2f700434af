"""What only parts of the package need: numpy, pandas, matplotlib; lm-eval; jinja2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports: an ImportError says which extra of the package has them."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{error}: pip install "olmoe[{name}]" brings it',
                          name=error.name) from error
