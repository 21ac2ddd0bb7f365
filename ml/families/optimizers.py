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

    @torch.no_grad()
    def step_with(self, gradients: Sequence[Tensor]) -> None:
        """As `step`, fused, where these are the gradients of all parameters, in their order.

        Nothing is looked up, no hook called and no weight decayed: networks that are learned in a millisecond an
        update spend a third of it there.
        """
        (group,) = self.param_groups
        parameters: list[Tensor] = group["params"]
        if not self.state:
            for each in parameters:
                made = {name: torch.zeros_like(each) for name in ("exp_avg", "exp_avg_sq")}
                self.state[each] = {"step": torch.zeros((), device=each.device), **made}
        states = [self.state[each] for each in parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            parameters,
            list(gradients),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
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


class AdamW(_Uncompiled, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
