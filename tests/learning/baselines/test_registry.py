from __future__ import annotations

import subprocess
import sys

from service.learning.baselines import RIVALS
from service.learning.policy import Policy
from service.learning.space import default_space

NEEDS_PYTORCH = "optuna_gp"


def test_every_rival_is_a_policy_that_bears_its_name() -> None:
    space = default_space(2)
    for name, make in RIVALS.items():
        if name != NEEDS_PYTORCH:
            policy = make(space, 0)
            assert isinstance(policy, Policy)
            assert policy.name == name


def test_neither_optuna_nor_tensorflow_is_imported_before_it_is_asked_for() -> None:
    code = "import sys, service.learning.baselines; print({'optuna', 'torch', 'tensorflow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
