"""Rules about what a task can train: which networks, on which batches, with which optimizer."""

from typing import Any

from src.check.facts import Facts, ask

BILSTM = "src.model.bilstm.BiLSTM"
TRANSFORMER = "src.model.transformer.Transformer"
TRANSFORMER_CLASSIFIER = "src.model.transformer_classifier.TransformerClassifier"
CLASSIFIER = "src.task.classifier.Classifier"
LANGUAGE_MODEL = "src.task.language_model.LanguageModel"
REVIEWS, TEXTS = "src.data.module.Reviews", "src.data.texts.Texts"
MUON = "src.optimizer.muon.MuonAdamW"
F1 = "src.evaluation.thresholds.F1"
# Task: the networks it trains, the data that fits it, and the choices that give both.
NEEDS: dict[str, tuple[tuple[str, ...], str, str]] = {
    CLASSIFIER: (
        (BILSTM, TRANSFORMER_CLASSIFIER),
        REVIEWS,
        "model=bilstm or model=transformer_classifier with data=imdb or data=demo",
    ),
    LANGUAGE_MODEL: (
        (TRANSFORMER,),
        TEXTS,
        "model=transformer_tiny, transformer_small or transformer_1b with data=imdb_text or data=demo_text",
    ),
    "src.task.recurrent_language_model.BidirectionalLanguageModel": (
        ("src.model.recurrent_lm.RecurrentLanguageModel",),
        "src.data.word_blocks.WordBlocks",
        "model=bilstm_lm with data=imdb_words",
    ),
}


def task_model_and_data_fit(config: dict[str, Any], facts: Facts) -> str | None:
    """Each model chooses its task and data; choosing one of the three again by hand can break that."""
    task, model, data = (ask(config, f"{key}._target_") for key in ("task", "model", "data"))
    if task not in NEEDS:
        return None
    models, wanted, ways = NEEDS[task]
    kind = task.rpartition(".")[2]
    if model is not None and model not in models:
        return f"task ({kind}) does not train model ({model.rpartition('.')[2]}); choose {ways}."
    if data is not None and data != wanted:
        return f"task ({kind}) cannot use data ({data.rpartition('.')[2]}), which has other batches; choose {ways}."
    return None


def depths_need_a_transformer(config: dict[str, Any], facts: Facts) -> str | None:
    """Rates that fall with depth and unfreezing from the top ask the network how deep a weight is."""
    for name, off in (("layer_decay", 1.0), ("unfreeze_every", 0.0)):
        value = ask(config, f"task.{name}", off)
        if value != off and ask(config, "model._target_") not in (TRANSFORMER, TRANSFORMER_CLASSIFIER):
            return f"task.{name} ({value}) needs a network with numbered blocks; choose model=transformer_classifier."
    return None


def muon_needs_blocks(config: dict[str, Any], facts: Facts) -> str | None:
    muon = ask(config, "optimizer._target_") == MUON
    if muon and ask(config, "model._target_") not in (TRANSFORMER, TRANSFORMER_CLASSIFIER):
        return "optimizer=muon is for the matrices of a transformer's blocks; choose optimizer=adamw for this model."
    return None


def text_fits_the_context(config: dict[str, Any], facts: Facts) -> str | None:
    """Positions end at the network's context limit."""
    length, limit = ask(config, "data.max_length"), ask(config, "model.max_length")
    if length is not None and limit is not None and length > limit:
        return f"data.max_length ({length}) must be at most model.max_length ({limit}); raise that one or cut the text."
    return None


def threshold_needs_two_classes(config: dict[str, Any], facts: Facts) -> str | None:
    """Everything else has none; f1 is what stands there unasked."""
    rule, task = str(ask(config, "threshold._target_", F1)), str(ask(config, "task._target_", CLASSIFIER))
    classes = ask(config, "task.num_classes", 2)
    if rule == F1 or (task == CLASSIFIER and classes == 2):
        return None
    found = f"{classes} classes" if task == CLASSIFIER else "a language model, which has no classes"
    return f"threshold={rule.rpartition('.')[2].lower()} cuts between two classes and this is {found}; leave it out."
