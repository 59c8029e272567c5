"""Rules for the decision threshold, against loops over every threshold there is."""

import numpy as np
import pytest

from src.evaluation.thresholds import F1, Cost, Precision, at_threshold, best_threshold, choose_on_val
from tests.test_evaluation_curves import CASES, draw_case


def counts_at(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> tuple[int, int, int]:
    """TP, FP, FN by a loop over the examples."""
    tp = fp = fn = 0
    for label, probability in zip(labels, probabilities, strict=True):
        tp += label == 1 and probability >= threshold
        fp += label == 0 and probability >= threshold
        fn += label == 1 and probability < threshold
    return tp, fp, fn


@pytest.mark.parametrize("case", CASES)
def test_the_rule_f1_is_the_threshold_with_the_best_f1(case: tuple[int, int, int]) -> None:
    assert F1().choose(*draw_case(*case)) == (best_threshold(*draw_case(*case))[0], "")


@pytest.mark.parametrize("wanted", [0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_the_rule_precision_takes_the_lowest_threshold_that_is_precise_enough(
    case: tuple[int, int, int], wanted: float
) -> None:
    """No other threshold that is precise enough finds more positives; where none is, there is no threshold."""
    labels, probabilities = draw_case(*case)
    tried = {t: counts_at(labels, probabilities, t) for t in sorted(set(probabilities))}
    enough = {t: tp for t, (tp, fp, _) in tried.items() if tp / (tp + fp) >= wanted}
    found = Precision(wanted=wanted).choose(labels, probabilities)
    if not enough:
        highest = max(tp / (tp + fp) for tp, fp, _ in tried.values())
        assert found.threshold is None
        assert f"{highest:.4f}" in found.reason
        return
    assert found == (min(enough), "")
    assert enough[min(enough)] == max(enough.values())


@pytest.mark.parametrize("costs", [(1, 5), (1, 1), (7, 1), (1000, 1)])
@pytest.mark.parametrize("case", CASES)
def test_the_rule_cost_is_the_cheapest_of_a_double_loop(case: tuple[int, int, int], costs: tuple[int, int]) -> None:
    """Calling nothing positive is tried as well; ties go to the one nearest to 0.5, the lower of two equally near."""
    labels, probabilities = draw_case(*case)
    nothing = np.nextafter(max(probabilities), np.inf)
    tried = []
    for threshold in [*sorted(set(probabilities)), nothing]:
        _, fp, fn = counts_at(labels, probabilities, threshold)
        tried.append((costs[0] * fp + costs[1] * fn, abs(threshold - 0.5), threshold))
    rule = Cost(false_positive=costs[0], false_negative=costs[1])
    assert rule.choose(labels, probabilities) == (min(tried)[2], "")
    both = np.stack([1 - probabilities, probabilities], axis=1)
    shown = at_threshold("test", rule, labels, both, threshold=min(tried)[2])
    assert shown["test_at_threshold/cost"] == min(tried)[0]


def test_class_1_may_never_be_worth_predicting() -> None:
    labels, probabilities = np.array([1, 0, 0]), np.array([0.2, 1.0, 0.9])
    chosen, _ = Cost(false_positive=100, false_negative=1).choose(labels, probabilities)
    assert chosen is not None
    assert chosen > 1
    assert not (probabilities >= chosen).any()


def test_what_is_kept_of_a_choice_names_the_rule_and_the_threshold() -> None:
    labels, both = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.8, 0.2]], dtype=np.float32)
    kept = choose_on_val(Cost(false_positive=1, false_negative=5), labels, both)
    assert kept["threshold"] == np.float32(0.3)
    assert kept["threshold_rule"] == "cost, false_positive 1, false_negative 5"
    assert kept["val_at_threshold/acc"] == 1.0
    assert kept["val_at_threshold/cost"] == 0.0
    unreached = choose_on_val(Precision(wanted=0.9), 1 - labels, both)
    assert unreached["threshold"] is None
    assert "0.9" in unreached["threshold_note"]
    assert not any("at_threshold" in name for name in unreached)


def test_three_classes_or_one_have_no_threshold_and_that_is_said() -> None:
    three = choose_on_val(F1(), np.array([0, 1, 1]), np.full((3, 3), 1 / 3))
    assert (three["threshold"], "3 classes" in three["threshold_note"]) == (None, True)
    one = choose_on_val(F1(), np.array([1, 1]), np.full((2, 2), 0.5))
    assert (one["threshold"], "one class only" in one["threshold_note"]) == (None, True)
