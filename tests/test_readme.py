"""Every command of the README is real: it is run, checked or composed, whichever is cheap enough."""

import re
import shlex
import shutil
import subprocess

import pytest

from tests.conftest import IMDB, ROOT, SMALL_TRANSFORMER, door

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line and line[0] != "#"]


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_works(command, finished_run, language_model_run, tmp_path):
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        return
    assert words[:2] == ["python", "-m"], f"an unknown kind of command: {command}"
    name, arguments = words[2].removeprefix("src."), words[3:]
    if any("shared/data/imdb" in argument for argument in arguments) and not IMDB.is_dir():
        pytest.skip("the real corpus is not at ../shared/data/imdb")
    places = {"<run>": finished_run, "<lm>": language_model_run, "<new>": tmp_path / "export"}
    if "<other>" in arguments:
        places |= {"<other>": shutil.copytree(finished_run, tmp_path / "other"), "<page>": tmp_path / "page.html"}
    for placeholder, folder in places.items():
        arguments = [argument.replace(placeholder, str(folder)) for argument in arguments]
    if any(argument.startswith("init_from=") for argument in arguments):
        arguments += SMALL_TRANSFORMER  # the sizes of the run that stands for the reader's
    if name == "benchmark":
        arguments.append("--cfg=job")
    if name in ("train", "check"):
        # A sweep's jobs are checked by its first values.
        ours = [word for word in arguments if word not in ("-m", "--multirun") and "hydra.launcher." not in word]
        arguments = [re.sub(r",.*", "", word) for word in ours]
        name = "check"
    arguments += [f"paths.output_dir={tmp_path}"] if name == "check" else []
    done = door(name, *arguments, input="a good film\n")
    assert done.returncode == 0, done.stderr


def test_every_door_has_a_command_in_the_readme():
    named = {shlex.split(command, comments=True)[2] for command in COMMANDS if command.startswith("python -m")}
    doors = ("train", "check", "evaluate", "predict", "generate", "report", "benchmark", "export", "runs")
    assert {f"src.{name}" for name in doors} <= named


def test_the_table_of_choices_is_what_conf_holds():
    text = (ROOT / "README.md").read_text()
    for group in (path for path in (ROOT / "conf").iterdir() if path.is_dir()):
        choices = " ".join(f"`{file.stem}`" for file in sorted(group.glob("*.yaml")))
        if group.name not in ("hydra", "paths", "suite"):
            assert f"| {group.name} | {choices} |" in text
