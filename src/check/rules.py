"""Combinations of settings that are each legal and together wrong; a new rule is one function and one line of RULES."""

from collections.abc import Callable
from typing import Any

from src.check import rules_data, rules_monitor, rules_task, rules_trainer
from src.check.facts import Facts
from src.errors import UserError

# A rule returns the sentence that refuses the config, or None.
Rule = Callable[[dict[str, Any], Facts], str | None]
RULES: tuple[Rule, ...] = (
    rules_task.task_model_and_data_fit,
    rules_task.depths_need_a_transformer,
    rules_task.muon_needs_blocks,
    rules_task.text_fits_the_context,
    rules_trainer.gpu_is_there,
    rules_trainer.fp16_needs_a_gpu,
    rules_trainer.bf16_on_a_gpu_needs_its_units,
    rules_trainer.fp16_clips_before_a_fused_optimizer,
    rules_trainer.one_device,
    rules_trainer.training_ends,
    rules_trainer.least_is_not_above_most,
    rules_trainer.one_optimizer_kernel,
    rules_trainer.nesterov_needs_momentum,
    rules_monitor.monitor_is_logged,
    rules_monitor.mode_fits_the_monitor,
    rules_monitor.monitor_is_measured,
    rules_monitor.learning_rate_needs_a_logger,
    rules_data.head_is_shorter_than_the_review,
    rules_data.one_vocabulary,
    rules_data.one_number_of_classes,
    rules_data.accumulation_is_one_thing,
    rules_data.buckets_need_unequal_lengths,
    rules_data.plain_mean_needs_equal_lengths,
)


def check_rules(config: dict[str, Any], *, cuda: bool, bf16: bool) -> None:
    """Refuse the first combination that cannot work. `cuda`, `bf16`: what the device that trains can do.

    Raises:
        UserError: naming the keys, why they do not go together, and the way out.
    """
    facts = Facts(cuda=cuda, bf16=bf16)
    for rule in RULES:
        sentence = rule(config, facts)
        if sentence is not None:
            raise UserError(sentence)
