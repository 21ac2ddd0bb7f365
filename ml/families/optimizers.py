"""Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) as torch has them, without torch's compiler.

Torch's optimizers ask its compiler at every call to leave them out of what it compiles, and to be asked it has to be
imported: 1.4 seconds of CPU and 770 modules, a third of what the lecture's lesson takes. Nothing is compiled here.
"""

import inspect

import torch
from torch.optim import Optimizer


class _Uncompiled(Optimizer):
    """Torch's methods as they stand below what asks the compiler."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class Adam(_Uncompiled, torch.optim.Adam):
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class AdamW(_Uncompiled, torch.optim.AdamW):
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
