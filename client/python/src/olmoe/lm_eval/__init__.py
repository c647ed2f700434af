"""lm-evaluation-harness against an OLMoE routing server. Needs lm-eval (`olmoe[lm-eval]`).

    lm_eval --model olmoe --model_args target=127.0.0.1:50051 --tasks arc_easy
    python -m olmoe.lm_eval --tasks arc_easy --policy native --policy top-k=4

The first is lm-eval itself: the package tells it of the model `olmoe`. The second compares policies
and arms document by document.
"""

from olmoe.lm_eval.model import OlmoeLM
from olmoe.lm_eval.paired import Comparison, PairedRow, compare

__all__ = ["Comparison", "OlmoeLM", "PairedRow", "compare"]
