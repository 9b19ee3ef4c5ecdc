"""A start-up file's work: torchvision's missing operators are declared before it is imported (`torchvision_operators`).

Every Python of an environment with that file imports this module as it starts, so it imports nothing but `sys`.
"""

import sys


def declare_at_import() -> None:
    """From now on, importing torchvision in this process declares the operators that it lacks."""
    if all(finder is not DeclareAtImport for finder in sys.meta_path):  # type: ignore[comparison-overlap]
        sys.meta_path.insert(0, DeclareAtImport)  # type: ignore[arg-type]


class DeclareAtImport:
    """Finds torchvision as Python does; the operators are declared before its first line runs."""

    @staticmethod
    def find_spec(name: str, *_: object) -> object:
        """Python's own answer for torchvision, and None for all else."""
        if name != "torchvision":
            return None
        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: object) -> None:
                from plankseg.learning.network.torchvision_operators import declare_missing_operators

                declare_missing_operators()
                run(module)  # type: ignore[arg-type]

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
