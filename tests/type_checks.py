"""Signatures of the package are checked while the tests run.

jaxtyping's hook checks all arguments twice and keeps a record of sizes in every call. So it is asked where
a signature has shapes; elsewhere beartype alone checks the same types, at a third of the cost.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_checked = jaxtyping.jaxtyped
_without_shapes = beartype(conf=BeartypeConf(violation_type=TypeError))


def install(package: str) -> None:
    """To be called before the package is imported."""
    jaxtyping.jaxtyped = _decorator
    jaxtyping.install_import_hook(package, "beartype.beartype")


def _decorator(*, typechecker: Callable[..., Any]) -> Callable[[Any], Any]:
    """In the place of `jaxtyping.jaxtyped`, which the hook writes above every function and class."""

    def decorated(checked: Any) -> Any:
        if inspect.isfunction(checked) and not any(map(_has_shapes, checked.__annotations__.values())):
            return _without_shapes(checked)
        return _checked(checked, typechecker=typechecker)

    return decorated


def _has_shapes(annotation: Any) -> bool:
    """Whether it is of jaxtyping, or may be: what stands in quotes is not known yet."""
    if typing.get_origin(annotation) is typing.Literal:
        return False
    return (
        isinstance(annotation, str)
        or (inspect.isclass(annotation) and issubclass(annotation, jaxtyping.AbstractArray))
        or any(map(_has_shapes, typing.get_args(annotation)))
    )
