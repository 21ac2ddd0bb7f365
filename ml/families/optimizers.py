"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) as torch has them, without torch's compiler.

Torch's optimizers ask its compiler at every call to leave them out of what it compiles, and to be asked it has to be
imported: 1.4 seconds of CPU and 770 modules, a third of what the lecture's lesson takes. Nothing is compiled here.
"""

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer


class _Uncompiled(Optimizer):
    """Torch's methods as they stand below what asks the compiler."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class Adam(_Uncompiled, torch.optim.Adam):
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))
    _held: tuple[object, tuple[list[Tensor], ...]] | None = None  # what `step_with` needs, and of which state

    @torch.no_grad()
    def step_with(self, gradients: Sequence[Tensor]) -> None:
        """As `step`, fused, where these are the gradients of all parameters, in their order.

        Nothing is looked up, no hook called and no weight decayed: networks that are learned in a millisecond an
        update spend a third of it there. Its parameters share one count of steps: not to be mixed with `step`.
        """
        (group,) = self.param_groups
        if self._held is None or self._held[0] is not self.state:
            self._held = self.state, self._gathered(group["params"])
        parameters, means, squares, steps = self._held[1]
        steps[0].add_(1)
        torch._fused_adam_(
            parameters,
            list(gradients),
            means,
            squares,
            [],
            steps,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )

    def _gathered(self, parameters: list[Tensor]) -> tuple[list[Tensor], ...]:
        """The parameters, both their moments, and one count of steps that all of them share."""
        for each in parameters:
            if each not in self.state:
                made = {name: torch.zeros_like(each) for name in ("exp_avg", "exp_avg_sq")}
                self.state[each] = {"step": torch.zeros((), device=each.device), **made}
        states = [self.state[each] for each in parameters]
        for state in states:
            state["step"] = states[0]["step"]
        moments = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        return parameters, *moments


class AdamW(_Uncompiled, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
