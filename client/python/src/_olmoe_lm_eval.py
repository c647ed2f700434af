"""Tells lm-eval of the model `olmoe`, once lm-eval looks at its models.

lm-eval finds no models of other packages by itself: its registry knows those that were imported.
olmoe-lm-eval.pth imports this module as Python starts, so it must cost nothing and need nothing:
it waits for `lm_eval.models` to be imported, and imports neither lm-eval nor olmoe.
"""

import sys

_MODELS = "lm_eval.models"


class _Finder:
    """Comes before the other finders until lm-eval's models are imported; finds only those."""

    def find_spec(self, name, path=None, target=None):
        if name != _MODELS:
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                _register_after(spec.loader)
                return spec
        return None


def _register_after(loader):
    """Makes a loader register the model behind lm-eval's own."""
    execute = loader.exec_module

    def exec_module(module):
        execute(module)
        from lm_eval.api import registry  # pylint: disable=import-outside-toplevel
        if "olmoe" not in registry.model_registry:
            registry.model_registry.register("olmoe", target="olmoe.lm_eval.model:OlmoeLM")

    loader.exec_module = exec_module


if _MODELS not in sys.modules:
    sys.meta_path.insert(0, _Finder())
