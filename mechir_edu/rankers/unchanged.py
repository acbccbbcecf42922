"""What a ranker's modules were when its hooks were put in, and what has been done to them since.

A fast engine reads weights, and so it knows nothing of whatever else changes what a module returns:
a hook, a replaced ``forward``, another module in its place. `Made.change` finds it, and the engine
stands back. Other changes leave hooks that never fire, or numbers that are random or half as
precise; `Made.require_ready` refuses to run the model then.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import nn
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent

FORWARD = ("_forward_hooks", "_forward_pre_hooks")
BACKWARD = ("_backward_hooks", "_backward_pre_hooks")
# Of a model's configuration: what may be asked for beside the score, and names of files.
HARMLESS = {"output_attentions", "output_hidden_states", "_output_attentions", "return_dict"}
HARMLESS |= {"_name_or_path", "name_or_path", "architectures", "transformers_version"}
PLAIN = (bool, int, float, str, type(None), FunctionType)
ATTENTION = "_attn_implementation_internal"


class State(NamedTuple):
    """One module as it was."""

    name: str
    module: nn.Module
    of_type: type[nn.Module]
    forward: Callable
    children: dict[str, Any]
    hooks: dict[str, dict]
    attributes: dict[str, Any]


def _state(name: str, module: nn.Module) -> State:
    hooks = {kind: dict(vars(module)[kind]) for kind in (*FORWARD, *BACKWARD)}
    children = dict(vars(module)["_modules"])
    of_type = type(module)
    return State(name, module, of_type, of_type.forward, children, hooks, _attributes(module))


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What a module was set to, such as a scale or a function; bridges note what is going on."""
    if isinstance(module, HookPoint | GeneralizedComponent):
        return {}
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, PLAIN) and name not in ("training", "forward")
    }


@dataclass(frozen=True, eq=False)
class Made:
    """A ranker's modules as they were when its hooks were put in.

    Attributes
    ----------
    states : every module, of projections behind the encoder, too.
    never_run : modules that no score is computed through; a hook there would be dead.
    hf_model, config : the model, and its configuration at the time.
    attention : the attention implementation that fires the hooks; None where there is no choice.
    """

    states: tuple[State, ...]
    never_run: tuple[State, ...]
    hf_model: nn.Module
    config: dict[str, Any]
    attention: str | None

    @classmethod
    def record(
        cls, roots: Iterable[nn.Module], run: Callable[[], Any], *, is_attention_chosen: bool
    ) -> "Made":
        """Record all modules below some roots, the first of which is the Hugging Face model.

        Parameters
        ----------
        roots : a module under several roots gets its name below the first.
        run : runs the model once; what does not run now never does.
        is_attention_chosen : whether the model looks its attention up by name.
        """
        roots = list(roots)
        named = {m: name for root in reversed(roots) for name, m in root.named_modules()}
        ran: set[nn.Module] = set()
        handles = [m.register_forward_pre_hook(lambda m, given: ran.add(m)) for m in named]
        try:
            run()
        finally:
            for handle in handles:
                handle.remove()
        states = tuple(_state(_readable(name), module) for module, name in named.items())
        never = (s for s in states if s.module not in ran and not isinstance(s.module, HookPoint))
        config = dict(vars(roots[0].config))
        attention = config[ATTENTION] if is_attention_chosen else None
        return cls(states, tuple(never), roots[0], config, attention)

    def change(self) -> str | None:
        """Say what makes a module return something else than its weights do; None for nothing."""
        return next(self._changes(), None) or _global_hook(FORWARD)

    def gradient_hook(self) -> str | None:
        """Say which module has a hook on its gradient; None for none."""
        hooked = (state.name for state in self.states if _is_hooked(state, BACKWARD))
        return next((f"{name} has a backward hook" for name in hooked), None) or _global_hook(
            BACKWARD
        )

    def _changes(self) -> Iterator[str]:
        for state in self.states:
            name, module, of_type, forward, children, _, attributes = state
            now = vars(module)
            if type(module) is not of_type or now["_modules"] != children:
                yield f"{name} holds other modules than at load"
            if "forward" in now or of_type.forward is not forward:
                yield f"{name}.forward was replaced"
            if _is_hooked(state, FORWARD):
                yield f"{name} has a hook"
            if attributes and _attributes(module) != attributes:
                yield f"{name} has other settings than at load"

    def require_ready(self, *, may_train: bool) -> None:
        """Refuse a model whose numbers or hooks would be wrong.

        Parameters
        ----------
        may_train : whether modules may be in training mode.

        Raises
        ------
        RuntimeError
            Saying what was changed, and what to do.
        """
        self._require_configuration()
        self._require_modules(may_train)
        self._require_float32()
        for state in self.never_run:
            if "forward" in vars(state.module) or _is_hooked(state, FORWARD):
                raise RuntimeError(
                    f"{state.name} ({state.of_type.__name__}) has a hook or another forward, which "
                    "would never run, because scores are not computed through this module; hook a "
                    "point of ranker.hook_dict instead"
                )

    def _require_configuration(self) -> None:
        now = vars(self.hf_model.config)
        if now == self.config:
            return
        if self.attention not in (None, now.get(ATTENTION)):
            raise RuntimeError(
                f"the attention implementation was changed to {now.get(ATTENTION)!r}, which fires "
                "no hooks; read patterns from run_with_cache, and set it back by "
                f"ranker.hf_model.set_attn_implementation({self.attention!r})"
            )
        for key in sorted({*now, *self.config} - HARMLESS - {ATTENTION}):
            if key not in now or key not in self.config or now[key] != self.config[key]:
                raise RuntimeError(
                    f"hf_model.config.{key} was {self.config.get(key)!r} at load and is "
                    f"{now.get(key)!r}, which the model's modules do not follow; set it back, or "
                    "load a checkpoint that has it"
                )

    def _require_modules(self, may_train: bool) -> None:
        for state in self.states:
            module, now = state.module, vars(state.module)
            if now["training"] and not may_train:
                raise RuntimeError(
                    f"{state.name} is in training mode, where dropout makes every run another; "
                    "call ranker.bridge.eval() first"
                )
            if module._compiled_call_impl is not None:
                raise RuntimeError(
                    f"{state.name} was compiled, and compiled code does not fire hooks; load the "
                    "ranker anew"
                )
            for kind, hooks in state.hooks.items():
                if hooks and not hooks.items() <= now[kind].items():
                    raise RuntimeError(
                        f"the bridge's own hooks at {state.name} were removed (by reset_hooks with "
                        "including_permanent=True?), and without them others never fire; load the "
                        "ranker anew, and use reset_hooks() for your own"
                    )
            # TransformerLens asks its own list whether a point is hooked, and else may skip it.
            raw = isinstance(module, HookPoint) and (
                len(now["_forward_hooks"]) > len(now["fwd_hooks"]) or now["_forward_pre_hooks"]
            )
            if raw:
                raise RuntimeError(
                    f"the hook point {state.name} has a hook of PyTorch, which may never run; use "
                    "its add_hook instead"
                )

    def _require_float32(self) -> None:
        device, dtype = self.hf_model.device, self.hf_model.dtype
        wanted = dtype if dtype.itemsize > torch.float32.itemsize else torch.float32
        for state in self.states:
            for name, weight in vars(state.module)["_parameters"].items():
                if weight is None or not weight.is_floating_point():
                    continue
                if weight.dtype != wanted or weight.device != device:
                    raise RuntimeError(
                        f"{state.name}.{name} is {weight.dtype} on {weight.device}; a ranker is "
                        f"{wanted} on one device, here {device}. Load it anew, with device="
                    )


def _is_hooked(state: State, kinds: Iterable[str]) -> bool:
    """Whether a module has other hooks than it had."""
    now = vars(state.module)
    return any(now[kind] != state.hooks[kind] for kind in kinds)


def _global_hook(kinds: Iterable[str]) -> str | None:
    for kind in kinds:
        if getattr(nn.modules.module, f"_global{kind}"):
            return "all modules of this process have a hook (register_module_..._hook)"
    return None


def _readable(name: str) -> str:
    """A module's name without what wraps it."""
    return name.replace("._original_component", "").replace("_original_component", "") or "hf_model"
