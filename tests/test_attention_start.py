"""Before any data is read, a choice says that it cannot train here, or what it will take."""

from functools import partial

import pytest
import torch

from src.attention import auto, flash, flex, naive, sdpa
from src.attention.start import announce
from src.errors import UserError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
PLACE = {"head_width": 64, "dropout": 0.0}


def test_a_choice_that_cannot_train_here_is_refused_with_its_own_sentence(monkeypatch):
    monkeypatch.setattr(flash, "INSTALLED", ())
    with pytest.raises(UserError, match="attention=flash cannot run here: neither flash-attn nor flash-attn-4 is inst"):
        announce(partial(flash.attend), CUDA, torch.bfloat16, **PLACE)
    with pytest.raises(UserError, match="attention=flex cannot run here: on a CPU torch computes its forward only"):
        announce(partial(flex.attend), CPU, torch.bfloat16, **PLACE)
    with pytest.raises(
        UserError, match=r"attention=flex cannot run here: it has no dropout, and attention_dropout is 0\.1"
    ):
        announce(flex.attend, CUDA, torch.bfloat16, head_width=64, dropout=0.1)


def test_what_can_train_has_nothing_to_say_but_auto():
    for attend in (naive.attend, partial(sdpa.attend)):
        assert announce(attend, CPU, torch.float32, **PLACE) is None
    assert announce(flex.attend, CUDA, torch.float32, **PLACE) is None
    line = announce(partial(auto.attend), CPU, torch.float32, **PLACE)
    assert line == "attention=auto takes sdpa on this device (cpu)."
