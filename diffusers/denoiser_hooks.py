"""Watch the calls of a denoiser, be it plain, offloaded or compiled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn

Before = Callable[[tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]
"""Given the arguments of a call, returns those to call with."""

After = Callable[[Any], None]
"""Given what a call returned."""

COMPILED_CALL = "_compiled_call_impl"
"""Where `nn.Module.compile` keeps the compiled call, which notices no hook that is registered later."""


def watch(denoiser: nn.Module, before: Before, after: After) -> Callable[[], None]:
    """Call functions around every call of a denoiser.

    Returns:
        Ends it, and leaves the module as it was.
    """
    compiled: Callable[..., Any] | None = denoiser.__dict__.get(COMPILED_CALL)
    if compiled is not None:

        def call(*args: Any, **kwargs: Any) -> Any:
            args, kwargs = before(args, kwargs)
            output = compiled(*args, **kwargs)
            after(output)
            return output

        setattr(denoiser, COMPILED_CALL, call)
        return lambda: setattr(denoiser, COMPILED_CALL, compiled)
    with ExitStack() as registered:
        hook = denoiser.register_forward_pre_hook(lambda _, args, kwargs: before(args, kwargs), with_kwargs=True)
        registered.callback(hook.remove)
        registered.callback(denoiser.register_forward_hook(lambda _, args, output: after(output)).remove)
        return registered.pop_all().close
