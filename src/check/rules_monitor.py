"""Rules about the metric that decides: it is logged, measured, and better in the direction that is claimed."""

from collections.abc import Iterator
from typing import Any

from src.check.facts import Facts, ask
from src.check.nearest import suggestion

# What each task logs at every validation, and which way is better.
CLASSIFIER = {
    "val/loss": "min",
    "val/acc": "max",
    "val/precision": "max",
    "val/recall": "max",
    "val/f1": "max",
    "val/auroc": "max",
}
RECURRENT = {"val/loss": "min", "val/ppl": "min"}
LANGUAGE_MODEL = {**RECURRENT, "val/bits_per_byte": "min"}
# Lightning's own callbacks and the schedule say min where nothing is said.
UNSAID = "min"


def better(config: dict[str, Any]) -> dict[str, str]:
    """Metric to direction, for the task of this config."""
    kind = str(ask(config, "task._target_", "")).rpartition(".")[2]
    return {"LanguageModel": LANGUAGE_MODEL, "BidirectionalLanguageModel": RECURRENT}.get(kind, CLASSIFIER)


def monitors(config: dict[str, Any]) -> Iterator[tuple[str, Any, str, Any]]:
    """(key of the metric, metric, key of the mode, mode): the root's, the schedule's, and those of the callbacks."""
    if "monitor" in config:
        yield "monitor", config["monitor"], "monitor_mode", config.get("monitor_mode", UNSAID)
    watchers = {"schedule": config.get("schedule")}
    watchers |= {f"callbacks.{name}": entry for name, entry in (config.get("callbacks") or {}).items()}
    for key, entry in watchers.items():
        if isinstance(entry, dict) and "monitor" in entry:
            yield f"{key}.monitor", entry["monitor"], f"{key}.mode", entry.get("mode", UNSAID)


def monitor_is_logged(config: dict[str, Any], facts: Facts) -> str | None:
    known = better(config)
    for key, metric, _, _ in monitors(config):
        if metric not in known:
            return f"{key} ({metric}) is not a metric of a validation{suggestion(str(metric), known)}"
    return None


def mode_fits_the_monitor(config: dict[str, Any], facts: Facts) -> str | None:
    known = better(config)
    for _, metric, key, mode in monitors(config):
        if mode != known.get(metric, mode):
            direction = "lower" if known[metric] == "min" else "higher"
            return f"{key} ({mode}) must be {known[metric]}: {metric} is better the {direction} it is."
    return None


def monitor_is_measured(config: dict[str, Any], facts: Facts) -> str | None:
    """Without validation nothing would ever be best, stop early or lower the rate."""
    batches = ask(config, "trainer.limit_val_batches")
    if batches is None or batches > 0:
        return None
    watchers = [key for key, *_ in monitors(config) if key != "monitor"]
    if not watchers:
        return None
    return (
        f"trainer.limit_val_batches ({batches}) leaves nothing to measure for {watchers[0]}; set it to null or above 0."
    )


def learning_rate_needs_a_logger(config: dict[str, Any], facts: Facts) -> str | None:
    if any(entry is not None for entry in (config.get("logger") or {}).values()):
        return None
    for name, entry in (config.get("callbacks") or {}).items():
        if isinstance(entry, dict) and str(entry.get("_target_")).endswith(
            (".LearningRateMonitor", ".DeviceStatsMonitor")
        ):
            return f"callbacks.{name} writes to a logger and there is none; choose logger=csv or callbacks.{name}=null."
    return None
