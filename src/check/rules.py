"""Combinations of settings that are each legal and together wrong; a new rule is one function and one line of RULES."""

from collections.abc import Callable
from typing import Any

from src.check import (
    global_batch,
    rules_averaging,
    rules_data,
    rules_launcher,
    rules_monitor,
    rules_processes,
    rules_ranks,
    rules_schedule,
    rules_strategy,
    rules_task,
    rules_trainer,
)
from src.check.facts import Facts
from src.errors import UserError

# A rule returns the sentence that refuses the config, or None.
Rule = Callable[[dict[str, Any], Facts], str | None]
RULES: tuple[Rule, ...] = (
    rules_task.task_model_and_data_fit,
    rules_task.depths_need_a_transformer,
    rules_task.muon_needs_blocks,
    rules_task.text_fits_the_context,
    rules_task.threshold_needs_two_classes,
    rules_schedule.warmup_fits_the_steps,
    rules_ranks.unfreezing_needs_one_process,
    rules_ranks.adversarial_needs_whole_weights,
    rules_trainer.gpu_is_there,
    rules_trainer.fp16_needs_a_gpu,
    rules_trainer.bf16_on_a_gpu_needs_its_units,
    rules_trainer.fp16_clips_before_a_fused_optimizer,
    rules_trainer.one_device,
    rules_strategy.strategy_is_one_of_ours,
    rules_strategy.deepspeed_does_not,
    rules_strategy.devices_make_a_mesh,
    rules_strategy.matrices_can_be_split,
    rules_strategy.muon_needs_whole_matrices,
    rules_strategy.sharded_weights_have_no_fp16,
    rules_strategy.compiler_meets_the_strategy,
    rules_averaging.averages_need_whole_weights,
    rules_averaging.one_average_at_a_time,
    rules_averaging.held_rate_needs_a_curve,
    rules_strategy.deepspeed_needs_gpus_and_its_package,
    rules_processes.other_machines_need_a_launcher,
    rules_processes.processes_are_counted,
    rules_processes.ranks_read_no_secrets,
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
    global_batch.tokens_make_a_micro_batch,
    rules_data.buckets_need_unequal_lengths,
    rules_data.plain_mean_needs_equal_lengths,
    rules_launcher.job_devices_are_a_number,
    rules_launcher.job_is_as_large_as_the_run,
    rules_launcher.job_values_are_words,
    rules_launcher.job_time_is_longer_than_its_warning,
)


def check_rules(config: dict[str, Any], *, cuda: bool, bf16: bool, elsewhere: bool = False) -> None:
    """Refuse the first combination that cannot work. `cuda`, `bf16`: what the device that trains can do;
    `elsewhere`: a plan for other machines than this one, whose packages and number do not matter.

    Raises:
        UserError: naming the keys, why they do not go together, and the way out.
    """
    facts = Facts(cuda=cuda, bf16=bf16, elsewhere=elsewhere)
    for rule in RULES:
        sentence = rule(config, facts)
        if sentence is not None:
            raise UserError(sentence)
