"""Seeing every operation that a computation makes, and from which line, without a change to the code that makes it."""

import contextlib
import functools
import os
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path

import keras

# Looks, or hands functions on; what they return is no new number.
_NOT_WATCHED = {"convert_to_numpy", "convert_to_tensor", "custom_gradient", "dtype", "is_tensor", "shape", "stop_gradient"}
# Operators of tensors do not pass through `keras.ops`.
_OPERATORS = {
    **{f"__{side}{operator}__": name for side in ("", "r") for operator, name in (("add", "add"), ("sub", "subtract"), ("mul", "multiply"), ("truediv", "divide"))},
    **{f"__{side}{operator}__": name for side in ("", "r") for operator, name in (("pow", "power"), ("matmul", "matmul"))},
}
# Functions of torch that a layer may call itself, by the name that they have in Keras; others keep theirs.
_TORCH_NAMES = {"conv1d": "conv", "conv2d": "conv", "conv3d": "conv", "div": "divide", "true_divide": "divide", "mul": "multiply", "sub": "subtract", "pow": "power"}
_LIBRARIES = {"keras", "tensorflow", "torch", "jax", "jaxlib", "numpy", "contextlib", "functools", "optree", "tree"}
_MACHINERY = "kseparation.training."
_PACKAGE = Path(__file__).parents[2]


def calling_line() -> str | None:
    """Returns `file:line` of the code that is being examined, above the libraries it called; None where only an examination is running.

    The file is given relative to the folder of the package or to the working directory, where it lies in one of them.
    """
    frame = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module == f"{_MACHINERY}examination":
            return None
        if module.partition(".")[0] not in _LIBRARIES and module not in (__name__, f"{_MACHINERY}layer_watch", f"{_MACHINERY}step_watch"):
            return f"{_short(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _short(file):
    for root in (_PACKAGE, Path.cwd()):
        if Path(file).is_relative_to(root):
            return os.fspath(Path(file).relative_to(root))
    return file


class OperationWatch:
    """Puts itself between a computation and the operations that it makes, while it is open.

    Seen are the functions of `keras.ops`, whoever looks them up, the operators of tensors, and on torch its own functions. What an operation does inside is not seen, nor
    what is computed in other threads, nor a function that a module had imported by its own name (`from keras.ops import log`).

    Args:
        around: called with (name of the operation, function, positional arguments, keyword arguments); makes the call and returns what it gives.
        kinds: further classes of tensors whose operators are watched, such as those that a backend computes gradients with.
    """

    def __init__(self, around: Callable, kinds: tuple[type, ...] = ()):
        self._around = around
        self._kinds = {type(keras.ops.convert_to_tensor(0.0)), *kinds}
        self._thread = threading.get_ident()
        self._aside = False
        self._stack = contextlib.ExitStack()

    @property
    def sees(self) -> bool:
        """Whether what is computed now would be seen."""
        return not self._aside and threading.get_ident() == self._thread

    @contextlib.contextmanager
    def aside(self):
        """Opens a context in which nothing is seen."""
        before, self._aside = self._aside, True
        try:
            yield
        finally:
            self._aside = before

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self._replace_functions(stack)
            self._replace_operators(stack)
            # Layers of ours call some of torch's functions themselves, and torch has a hook for all of them.
            if keras.backend.backend() == "torch":
                stack.enter_context(self._torch_mode())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        self._stack.close()

    def _seen(self, name, function, args, kwargs):
        if not self.sees:
            return function(*args, **kwargs)
        self._aside = True
        try:
            return self._around(name, function, args, kwargs)
        finally:
            self._aside = False

    def _replace_functions(self, stack):
        ours = {}
        for module in (keras.ops, keras.ops.nn, keras.ops.numpy, keras.ops.linalg, keras.ops.image):
            for name, function in vars(module).items():
                if isinstance(function, types.FunctionType) and name not in _NOT_WATCHED and not name.startswith("_"):
                    ours.setdefault(function, self._watched(name, function))
        # Keras' own layers look them up in the modules where they are defined.
        places = [module for name, module in list(sys.modules.items()) if name == "keras.ops" or name.startswith(("keras.ops.", "keras.src.ops"))]
        for module in places:
            for name, function in list(vars(module).items()):
                if isinstance(function, types.FunctionType) and function in ours:
                    setattr(module, name, ours[function])
                    stack.callback(setattr, module, name, function)

    def _replace_operators(self, stack):
        for kind in self._kinds:
            for operator, name in _OPERATORS.items():
                function = getattr(kind, operator, None)
                if function is None:
                    continue
                if operator in vars(kind):
                    stack.callback(setattr, kind, operator, function)
                else:
                    stack.callback(delattr, kind, operator)
                setattr(kind, operator, self._watched(name, function))

    def _watched(self, name, function):
        @functools.wraps(function)
        def watched(*args, **kwargs):
            return self._seen(name, function, args, kwargs)

        return watched

    def _torch_mode(self):
        from torch.overrides import TorchFunctionMode  # the hook is torch's own

        seen = self._seen

        class Mode(TorchFunctionMode):
            def __torch_function__(self, function, types, args=(), kwargs=None):
                name = getattr(function, "__name__", "")
                # Attributes, what works in place, and memory that nothing has been written to yet.
                if name.startswith(("__", "empty", "new_empty")) or name.endswith("_") or name in ("detach", "requires_grad", "data"):
                    return function(*args, **(kwargs or {}))
                return seen(_TORCH_NAMES.get(name, name), function, args, kwargs or {})

        return Mode()
