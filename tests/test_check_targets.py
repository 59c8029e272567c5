"""The allow-list: hostile names are refused by name alone, legal ones are what they claim to be."""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.check.targets import EXTERNAL, HYDRA, SOURCE, check_targets, defined_names, import_target, own_targets
from src.errors import UserError

HOSTILE_NAMES = """
builtins.eval builtins.exec builtins.open builtins.__import__ builtins.getattr builtins.compile builtins.print
os.system os.popen os.execv os.remove os.symlink os.getenv posix.system nt.system subprocess.run subprocess.Popen
pty.spawn asyncio.run multiprocessing.Process shutil.copy shutil.rmtree pathlib.Path pathlib.Path.write_text
tempfile.mkstemp io.open codecs.open pickle.loads marshal.loads shelve.open joblib.load pandas.read_pickle numpy.load
dill.loads torch.load torch.hub.load torch.serialization.load torch.optim torch.optim.adam.Adam
torch.optim.Adam.load_state_dict lightning.fabric.utilities.cloud_io._load lightning.Trainer.fit
lightning.pytorch.Trainer lightning.LightningModule lightning.pytorch.callbacks.LambdaCallback
lightning.pytorch.callbacks.ModelCheckpoint lightning.pytorch.os.system importlib.import_module runpy.run_path
code.interact ctypes.CDLL urllib.request.urlopen socket.socket sympy.sympify pip._internal.cli.main.main
setuptools._distutils.spawn.spawn site.addsitedir webbrowser.open hydra.utils.get_method hydra.utils.instantiate
hydra._internal.utils._locate omegaconf.OmegaConf.load functools.partial src.model.bilstm.torch.load
src.model.bilstm.nn.Module src.model.bilstm.nn src.model.bilstm.partial src.model.bilstm
src.model.bilstm.BiLSTM.forward src.model.nowhere.BiLSTM src.model.BiLSTM src.model.bilstm._x src.model.__init__.x
src.run.folder.RunFolder src.run.files.write_json src.launch.door.leave src.check.targets.import_target src.train.main
src.errors.UserError src src. .src.model.bilstm.BiLSTM ..os.system src..model.bilstm.BiLSTM src/model/bilstm/BiLSTM
TORCH.OPTIM.ADAM Src.model.bilstm.BiLSTM . * ${oc.env:HOME} torch.optim.Adam;os.system torch.optim.Adam()
"""
HOSTILE: list[Any] = [
    *HOSTILE_NAMES.split(),
    *("", " os.system", "os.system ", "os .system", "torch.optim.Adam ", "torch.optim.Adam\n", "torch.optim.Adam\x00"),
    # Letters that look like the right ones: Cyrillic A, fullwidth o s S, an override of direction, a one-dot leader.
    *("torch.optim.\u0410dam", "\uff4f\uff53.system", "src.model.bilstm.BiL\uff33TM", "src.m\u00f6del.bilstm.BiLSTM"),
    *("\u202eos.system", "torch\u2024optim\u2024Adam", "src.model.bilstm.BiLSTM\n"),
    *(None, 1, 1.5, True, ["torch.optim.Adam"], {"_target_": "torch.optim.Adam"}, b"torch.optim.Adam", eval),
]


@pytest.fixture
def unchanged_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    assert set(sys.modules) == before


def test_the_list_of_hostile_targets_is_long() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.usefixtures("unchanged_modules")
@pytest.mark.parametrize("target", HOSTILE, ids=ascii)
def test_a_hostile_target_is_refused_before_anything_is_imported(target: Any) -> None:
    for tree in ({"a": {"_target_": target}}, {"a": [[{"b": {"_target_": target, "_partial_": True}}]]}):
        with pytest.raises(UserError, match=r"_target_ \("):
            check_targets(tree)
    with pytest.raises(UserError, match=r"hydra\.callbacks\.x\._target_"):
        check_targets({"hydra": {"callbacks": {"x": {"_target_": target}}}})


@pytest.mark.usefixtures("unchanged_modules")
@pytest.mark.parametrize("target", sorted(EXTERNAL) + own_targets())
def test_what_a_run_may_build_hydra_may_not(target: str) -> None:
    check_targets({"model": {"_target_": target}})
    with pytest.raises(UserError, match="launcher"):
        check_targets({"hydra": {"launcher": {"_target_": target}}})


@pytest.mark.parametrize("target", sorted(HYDRA))
def test_what_hydra_may_build_a_run_may_not(target: str) -> None:
    check_targets({"launcher": {"_target_": target}}, key="hydra")
    with pytest.raises(UserError, match=r"model\._target_"):
        check_targets({"model": {"_target_": target}})


@pytest.mark.parametrize("target", sorted(EXTERNAL))
def test_every_listed_name_of_another_package_exists(target: str) -> None:
    assert inspect.isclass(import_target(target, key="x"))


@pytest.mark.parametrize("target", own_targets())
def test_every_target_of_ours_is_defined_where_its_name_says(target: str) -> None:
    part = import_target(target, key="x")
    assert f"{part.__module__}.{part.__qualname__}" == target


def test_names_read_from_a_file_are_those_its_module_defines() -> None:
    import src.schedule.warmup_cosine as module

    names = defined_names(SOURCE / "schedule" / "warmup_cosine.py")
    assert list(names) == [
        n for n, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__
    ]


def test_another_name_for_a_listed_function_is_refused_after_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may rebind the name that it defines; what is built is then not what was read."""
    (tmp_path / "rebound.py").write_text("import os\n\n\ndef part():\n    pass\n\n\npart = os.getcwd\n")
    (tmp_path / "copied.py").write_text("from json import loads as part\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("rebound", "copied"):
        with pytest.raises(UserError, match=r"key \("):
            import_target(f"{module}.part", key="key")


def test_a_typo_in_a_target_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"Did you mean torch\.optim\.Adam\?"):
        check_targets({"optimizer": {"_target_": "torch.optim.Adm"}})
    with pytest.raises(UserError, match=r"Did you mean src\.schedule\.wsd\.wsd\?"):
        check_targets({"schedule": {"_target_": "src.schedule.wsd.wds"}})


@pytest.mark.parametrize(
    "tree",
    [
        {"job_logging": {"handlers": {"x": {"class": "os.system"}}}},
        {"job_logging": {"handlers": {"x": {"()": "subprocess.run"}}}},
        {"hydra_logging": {"formatters": {"x": {"()": "ext://os.system"}}}},
        {"job_logging": {"handlers": {"x": {"class": "logging.StreamHandler", "stream": "ext://os.environ"}}}},
        {"job_logging": {"handlers": {"x": {"class": "logging.config.listen"}}}},
        {"sweeper": {"_target_": "os.system"}},
    ],
)
def test_logging_and_sweeper_of_hydra_are_no_way_around(tree: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^hydra\."):
        check_targets(tree, key="hydra")


def test_the_usual_logging_passes() -> None:
    handler = {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}
    check_targets(
        {"hydra": {"job_logging": {"handlers": {"console": handler}, "formatters": {"simple": {"format": "%s"}}}}}
    )
