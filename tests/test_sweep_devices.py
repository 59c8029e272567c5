"""Jobs beside each other get GPUs and cores of their own, from those that the driver itself may use."""

import itertools
from pathlib import Path

import pytest

from src.errors import UserError
from src.sweep.devices import Gpus, cores_of, visible_gpus
from src.sweep.jobs import Job


def job(number, gpus):
    return Job(number=number, folder=Path("sweep", str(number)), overrides=(), gpus=gpus)


@pytest.mark.parametrize(
    ("count", "variable", "names"),
    [
        (4, None, ["0", "1", "2", "3"]),
        (2, "5,2", ["5", "2"]),
        (1, "MIG-41b3/2/0", ["MIG-41b3/2/0"]),
        (2, " GPU-8a, GPU-9b ,", ["GPU-8a", "GPU-9b"]),
        (1, "3,-1,4", ["3"]),  # CUDA reads no further than a name that it does not know
        (0, "", []),
    ],
)
def test_the_names_are_those_that_cuda_takes_itself(count, variable, names):
    assert visible_gpus(count, {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}) == names


def test_no_gpu_has_two_jobs_while_another_has_none():
    """Jobs come and go; whatever the order, nobody shares as long as there are enough."""
    gpus = Gpus(["5", "2", "7", "0"])
    first, second = job(0, 2), job(1, 1)
    assert gpus.take(first) == {"CUDA_VISIBLE_DEVICES": "5,2"}
    assert gpus.take(second) == {"CUDA_VISIBLE_DEVICES": "7"}
    gpus.give_back(first)
    assert set(gpus.take(job(2, 3))["CUDA_VISIBLE_DEVICES"].split(",")) == {"5", "2", "0"}


def test_jobs_of_one_gpu_share_evenly_where_there_are_too_few():
    gpus = Gpus(["0", "1"])
    taken = [gpus.take(job(number, 1))["CUDA_VISIBLE_DEVICES"] for number in range(4)]
    assert sorted(taken) == ["0", "0", "1", "1"]
    assert gpus.check(gpus=1, parallel=4) == "4 jobs at once share 2 GPUs."


def test_a_job_on_the_cpu_sees_what_the_driver_sees():
    assert Gpus(["0"]).take(job(0, 0)) == {}


def test_jobs_of_several_gpus_that_do_not_fit_are_refused():
    assert Gpus(list("0123")).check(gpus=2, parallel=2) is None
    with pytest.raises(UserError, match=r"\(2\) jobs of trainer.devices \(3\) need 6 GPUs, and 4 are visible.*=1"):
        Gpus(list("0123")).check(gpus=3, parallel=2)


@pytest.mark.parametrize("parallel", [1, 2, 3, 5, 8])
def test_cores_are_shared_out_without_rest_and_without_overlap(parallel):
    cores = [1, 3, 4, 8, 9, 10, 11, 15]
    shares = [cores_of(cores, slot=slot, parallel=parallel) for slot in range(parallel)]
    assert sorted(itertools.chain(*shares)) == cores
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_jobs_than_cores_take_turns_on_them():
    assert [cores_of([4, 6], slot=slot, parallel=3) for slot in range(3)] == [{4}, {6}, {4}]
