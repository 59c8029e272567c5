"""A process knows which rank it is from whoever launched it, the elastic launcher before srun."""

import subprocess
import sys

from src.launch.environment import prepare
from src.launch.rank import Rank, current_rank, launch_name, launcher_pid

SLURM = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}


def test_a_process_that_nobody_launched_is_the_only_one():
    assert current_rank({}) == Rank(0, 0, 1)
    assert current_rank({"SLURM_PROCID": "3"}).first  # half of what a launcher sets


def test_the_launcher_says_the_rank():
    assert current_rank(SLURM) == Rank(rank=5, local_rank=1, world_size=8)
    assert not current_rank(SLURM).first


def test_torchrun_inside_a_job_step_counts_before_the_step():
    elastic = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    assert current_rank(SLURM | elastic) == Rank(0, 0, 2)


def test_a_rank_knows_the_launcher_that_keeps_its_folder():
    assert launcher_pid({"TORCHELASTIC_RUN_ID": launch_name(4711)}) == 4711
    assert launcher_pid({"TORCHELASTIC_RUN_ID": "one of torchrun's"}) is None
    assert launcher_pid({}) is None


def test_a_worker_sets_the_threads_before_torch_reads_them():
    code = "import sys, src.launch.worker; print(sorted({'torch', 'lightning', 'hydra'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_ranks_of_one_machine_share_its_cores_and_keep_to_its_loopback_interface(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)))
    local = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "4"}
    prepare(local)
    assert (local["OMP_NUM_THREADS"], local["GLOO_SOCKET_IFNAME"]) == ("3", "lo")
    several_machines = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "OMP_NUM_THREADS": "2"}
    prepare(several_machines)
    assert several_machines["OMP_NUM_THREADS"] == "2"
    assert "GLOO_SOCKET_IFNAME" not in several_machines
    srun = {"SLURM_CPUS_PER_TASK": "6"}
    prepare(srun)
    assert srun == {"SLURM_CPUS_PER_TASK": "6", "OMP_NUM_THREADS": "6"}
