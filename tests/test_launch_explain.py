"""What Hydra raises for real mistakes, said in a sentence."""

import textwrap
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from src.errors import UserError
from src.launch.explain import explain
from src.launch.neighbours import choices_of, groups_of, override_parts

FILES = {
    "train": """
        defaults: [_self_, {optimizer: adam}, {model: bilstm}, {experiment: null}]
        seed: 0
        tags: []
        """,
    "optimizer/adam": "{_target_: torch.optim.Adam, lr: 0.1, weight_decay: 0.0}",
    "optimizer/sgd": "{_target_: torch.optim.SGD, lr: 0.1, momentum: 0.9}",
    "model/bilstm": "{dropout: 0.4, width: 8}",
    "model/transformer": "{defaults: [/attention@attend: naive], layers: 2}",
    "attention/naive": "{scale: 1.0}",
    "experiment/broken": "x: [1\n",
    "experiment/missing": "# @package _global_\ndefaults: [override /model: bilstm3]\n",
    "experiment/asks": "# @package _global_\nextra: ???\n",
    "experiment/broken_root": "# @package _global_\nx: [1\n",
    "experiment/refers": "# @package _global_\nseed: ${nowhere}\n",
}


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conf")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.yaml").write_text(textwrap.dedent(text))
    return folder


def raised(arguments: list[str], conf: Path, *, config_name: str = "train") -> BaseException:
    """What composing and resolving with these arguments raises."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(conf)):
            OmegaConf.to_container(compose(config_name, overrides=arguments), resolve=True, throw_on_missing=True)
    except Exception as error:
        return error
    pytest.fail(f"{arguments} composed")


CASES = [
    ("optimizer.lrr=1", "optimizer.lrr (1) is not a setting of optimizer; did you mean optimizer.lr? Legal: lr,"),
    ("optimizer=sgd optimizer.momentm=1", "optimizer.momentm (1) is not a setting of optimizer; did you mean"),
    ("optimizer.learning_rate=1", "did you mean optimizer.lr?"),
    ("optimizer.amsgrad=true", "One that conf/ does not list is added with +optimizer.amsgrad=VALUE."),
    ("optimizer.momentum=1", "optimizer.momentum (1) is a setting of optimizer=sgd, not of what this run has chosen."),
    ("extra=1", "extra (1) is a setting of experiment=asks, not of what this run has chosen."),
    ("lr=1", "lr (1) is not a setting; did you mean optimizer.lr?"),
    ("dropot=1", "dropot (1) is not a setting; did you mean model.dropout?"),
    ("optimiser=adam", "optimiser (adam) is not a setting of this config; did you mean optimizer?"),
    ("optimizr.lr=1", "optimizr.lr (1) is not a setting of this config; did you mean optimizer.lr?"),
    ("nothing_like_it=1", "nothing_like_it (1) is not a setting of this config. Legal: attention, exp"),
    ("attention=naive", "attention (naive): this run has no group attention; it exists only for the models"),
    ("seed.x=1", "seed.x (1) is not a setting: seed holds no keys."),
    ("~optimizer.lrr", "optimizer.lrr is not a setting of optimizer; did you mean optimizer.lr?"),
    ("model=bilstn", "model=bilstn is not a choice; did you mean model=bilstm? Legal: bilstm, transformer."),
    ("+modle@x=bilstm", "modle"),
    ("experiment=missing", "model=bilstm3 is not a choice; did you mean model=bilstm?"),
    ("experiment=broken", "broken.yaml, line 2 is not valid YAML: expected ',' or ']', but got '<stream end>'."),
    ("experiment=asks", "extra has no value yet; give one: extra=VALUE."),
    ("experiment=refers", "seed cannot be computed: Interpolation key 'nowhere' not found."),
    ("seed=${seed}", "seed cannot be computed: Recursive interpolation detected."),
    ("seed=${no_resolver:1}", "seed cannot be computed: Unsupported interpolation type no_resolver."),
    ("tags=[a,b", "'tags=[a,b' cannot be read"),
    ("seed", "'seed' needs a value: write seed=VALUE."),
    ("model.dropout:0.3", "'model.dropout:0.3' needs a value: write model.dropout=VALUE."),
    ("+model=bilstm", "+model chooses model a second time; write model=CHOICE to change the choice."),
    ("+seed=1", "+seed adds a key that is already there; write seed=VALUE to change it."),
    ("optimizer=null", "optimizer (null) must name a choice: adam, sgd."),
    ("optimizer=3", "optimizer (3) must name a choice: adam, sgd."),
    ("hydra.run.dri=x", "hydra.run.dri (x) is not a setting of hydra.run; did you mean hydra.run.dir?"),
    ("hydra.job.num=abc", "could not be converted to Integer."),
    ("optimizer.lrr=1 model.widht=3 seedd=1", "optimizer.lrr (1) is not a setting of optimizer; did you mean"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "sentence"), CASES, ids=str)
def test_a_mistake_on_the_command_line_is_answered_in_a_sentence(typed: str, sentence: str, conf: Path) -> None:
    arguments = typed.split()
    told = explain(raised(arguments, conf), arguments=arguments, config_dir=conf)
    assert told is not None
    assert sentence in told
    assert "\n" not in told
    assert "hydra.cc" not in told


def test_a_config_that_does_not_exist_is_answered_with_those_that_do(conf: Path) -> None:
    told = explain(raised([], conf, config_name="trian"), arguments=[], config_dir=conf)
    assert told == "There is no config trian.yaml; did you mean train? Legal: train."


def test_several_values_without_a_sweep_are_explained(conf: Path) -> None:
    from hydra.errors import ConfigCompositionException

    error = ConfigCompositionException("Ambiguous value for argument 'seed=1,2'\n1. To use it as a list, ...")
    told = explain(error, arguments=["seed=1,2"], config_dir=conf)
    assert told == "seed (1,2) is several values: add -m to try each of them, or write seed=[1,2] for a list."


def test_a_refusal_of_ours_inside_hydra_keeps_its_words(conf: Path) -> None:
    error = InstantiationException("Error in call to target")
    error.__cause__ = UserError("data.path (x) must exist.")
    assert explain(error, arguments=[], config_dir=conf) == "data.path (x) must exist."


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), InstantiationException("x"), RuntimeError(), OSError("x")]
)
def test_a_bug_of_ours_is_left_alone(error: Exception, conf: Path) -> None:
    assert explain(error, arguments=["optimizer=null"], config_dir=conf) is None


def test_wrong_access_to_a_config_in_our_code_is_a_bug_of_ours(conf: Path) -> None:
    config = OmegaConf.create({"a": 1})
    OmegaConf.set_struct(config, True)
    with pytest.raises(Exception, match="not in struct") as caught:
        _ = config.b
    assert explain(caught.value, arguments=[], config_dir=conf) is None


def test_groups_and_choices_are_the_folders_and_files(conf: Path) -> None:
    assert groups_of(conf) == ["attention", "experiment", "model", "optimizer"]
    assert choices_of("optimizer", conf) == ["adam", "sgd"]
    assert choices_of("nowhere", conf) == []


@pytest.mark.parametrize(
    ("argument", "parts"),
    [("a.b=1", ("a.b", "1", "")), ("++a=b=c", ("a", "b=c", "++")), ("~a", ("a", "", "~")), ("+a=", ("a", "", "+"))],
)
def test_an_override_falls_into_its_parts(argument: str, parts: tuple[str, str, str]) -> None:
    assert override_parts(argument) == parts
