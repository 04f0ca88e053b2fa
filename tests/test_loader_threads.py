"""Prefetching: errors are raised, threads end, memory does not grow; other libraries load and save a loader."""

from __future__ import annotations

import gc
import os
import pickle
import resource
import subprocess
import sys
import threading
import time

import psutil
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

import packsort
from loading import digest, digests
from packed_rows import MAX_LENGTH, packed, rows
from packsort.torch import PackedLoader, PackedStream
from packsort.torch._prefetch import Prefetcher
from test_torch import same

NO_CUDA = "needs a CUDA device"
TABLE = rows(300)

# torchdata 0.11 calls a function that torch 2.15 deprecates; Python 3.12 and later warn of forks.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("threads"), TABLE)


def wait_until(what):
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def threads():
    return sum(thread.name == "packsort-prefetch" for thread in threading.enumerate())


def begun(loader):
    """Start a pass whose steps last long enough for a thread."""
    batches = iter(loader)
    next(batches)
    time.sleep(0.002)
    next(batches)
    return batches


# The prefetcher


def test_a_thread_starts_when_a_step_takes_long_enough():
    made = []

    def items():
        for i in range(9):
            made.append(i)
            yield i

    ahead = Prefetcher(items(), 2, min_step_seconds=0.2)
    assert (next(ahead), next(ahead), made, threads()) == (0, 1, [0, 1], 0)
    time.sleep(0.21)
    assert next(ahead) == 2
    wait_until(lambda: made == [0, 1, 2, 3, 4])
    assert threads() == 1
    assert list(ahead) == [3, 4, 5, 6, 7, 8]
    wait_until(lambda: threads() == 0)


def test_quick_loops_have_no_thread(path, monkeypatch):
    monkeypatch.setattr("packsort.torch.loader._MIN_STEP_SECONDS", 10.0)  # on a busy machine every step may take long
    for _ in PackedLoader(path):
        assert threads() == 0


def test_no_more_are_made_ahead_than_asked_for():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    ahead = Prefetcher(items(), 3)
    wait_until(lambda: len(made) == 3)
    time.sleep(0.05)
    assert len(made) == 3
    assert [next(ahead) for _ in range(10)] == list(range(10))
    wait_until(lambda: len(made) == 13)
    ahead.close()
    assert threads() == 0


@pytest.mark.parametrize("count", [0, 1, 4])
def test_errors_come_after_what_was_made_before_them(count):
    def items():
        yield from range(4)
        raise packsort.DamagedError("here")

    ahead = Prefetcher(items(), count)
    assert [next(ahead) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(packsort.DamagedError, match="here"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)
    assert threads() == 0


def test_abandoned_passes_leave_no_thread(path):
    loader = PackedLoader(path)
    for _ in range(20):
        begun(loader)
    gc.collect()
    wait_until(lambda: threads() == 0)
    passes = [begun(loader) for _ in range(5)]
    assert threads() == 5
    del passes
    assert threads() == 0


def test_a_process_ends_though_a_pass_has_not(path):
    code = (
        "import sys; from packsort.torch import PackedLoader\n"
        "import time; keep = iter(PackedLoader(sys.argv[1])); next(keep); time.sleep(0.01); next(keep); print('end')"
    )
    found = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout, found.stderr) == (0, "end\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_does_not_wait_for_threads_it_does_not_have(path):
    code = (
        "import os, signal, sys; from packsort.torch import PackedLoader\n"
        "import time; loader = PackedLoader(sys.argv[1]); batches = iter(loader)\n"
        "next(batches); time.sleep(0.01); next(batches)\n"
        "if not (child := os.fork()):\n"
        "    signal.alarm(20)\n"
        "    try: next(batches)\n"
        "    except RuntimeError as error: assert 'forked process' in str(error)\n"
        "    del batches\n"
        "    os._exit(0 if len(list(loader)) == len(loader) else 1)\n"
        "print(os.waitpid(child, 0)[1], 2 + len(list(batches)) == len(loader))\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, path], capture_output=True, text=True, timeout=60
    )
    assert found.stdout == "0 True\n", found.stderr


@pytest.mark.parametrize("on_the_fly", [False, True])
def test_10_000_batches_take_no_more_memory(path, on_the_fly):
    loader = PackedLoader(TABLE, max_length=MAX_LENGTH) if on_the_fly else PackedLoader(path)
    process, held = psutil.Process(), None
    count = 0
    while count < 12_000:
        for _ in loader:
            count += 1
            if count == 2000:
                gc.collect()
                held = process.memory_info().rss
    gc.collect()
    assert process.memory_info().rss - held < 4 << 20


def test_loaders_are_pickled_with_their_place(path):
    for loader in (PackedLoader(path), PackedLoader(TABLE, max_length=MAX_LENGTH)):
        whole = digests(loader)
        batches = iter(loader)
        loader.set_epoch(0)
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        again = pickle.loads(pickle.dumps(loader))
        assert again.state_dict() == loader.state_dict()
        assert digests(again) == whole  # a pass that was left early starts again


# Loaders and checkpoints of other libraries


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_dataloader_gives_the_same_batches(path, num_workers):
    loader = PackedLoader(path, batch_size=2)
    expected = list(PackedLoader(path, batch_size=2))
    found = list(DataLoader(loader, batch_size=None, num_workers=num_workers))
    for one, other in zip(found, expected, strict=True):
        same(one, other)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("at", [0, 1, 5, 11])
@pytest.mark.parametrize("options", [{}, {"balance": True, "world_size": 2, "rank": 1}])
def test_stateful_dataloader_goes_on(path, num_workers, at, options):
    def make():
        return StatefulDataLoader(PackedLoader(path, **options), batch_size=None, num_workers=num_workers)

    expected = digests(PackedLoader(path, **options))
    loader = make()
    batches = iter(loader)
    received = [digest(next(batches)) for _ in range(at)]
    again = make()
    again.load_state_dict(pickle.loads(pickle.dumps(loader.state_dict())))
    assert received + digests(again) == expected
    assert len(digests(again)) == len(expected)  # the next epoch


ACCELERATE = """
import sys, torch
from accelerate import Accelerator
from packsort.torch import PackedLoader
sys.path.insert(0, sys.argv[3])
from loading import digest

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
torch.manual_seed(0)
model = torch.nn.Embedding(128, 4)
loader = PackedLoader(sys.argv[1], batch_size=2, accumulation=2, device=accelerator.device)
model, optimizer, prepared = accelerator.prepare(model, torch.optim.SGD(model.parameters(), 0.1), loader)
assert prepared is loader
assert (loader.rank, loader.world_size) == (accelerator.process_index, accelerator.num_processes)
accelerator.register_for_checkpointing(loader)

def train(most):
    seen = []
    for batch in loader:
        with accelerator.accumulate(model):
            loss = model(batch["input_ids"]).square().mean()
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        seen.append(digest(batch))
        if len(seen) == most:
            break
    return seen

train(3)
accelerator.save_state(sys.argv[2])
rest = train(None)  # a pass that was left early starts again
accelerator.load_state(sys.argv[2])
assert train(None) == rest[3:] and len(rest) == len(loader), (len(rest), len(loader))
with open(f"{sys.argv[2]}.{loader.rank}", "w") as file:
    file.write(str(len(rest)))
# Gloo work that is released while the interpreter shuts down aborts it (pytorch/pytorch issue 190489).
del model, optimizer, prepared
accelerator.free_memory()
accelerator.end_training()
if torch.distributed.is_initialized():
    torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate_checkpoints_keep_it(path, tmp_path, processes):
    script = tmp_path / "train.py"
    script.write_text(ACCELERATE)
    command = [sys.executable, script, path, tmp_path / "state", os.path.dirname(__file__)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if processes > 1:
        launch = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "0"]
        command[1:1] = [*launch, "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert found.returncode == 0, found.stderr
    expected = len(PackedLoader(path, batch_size=2, accumulation=2, world_size=processes, rank=0))
    steps = [(tmp_path / f"state.{rank}").read_text() for rank in range(processes)]
    assert steps == [str(expected)] * processes


# Devices


def test_batches_can_go_to_any_device(path):
    for batch, expected in zip(PackedLoader(path, device="meta"), PackedLoader(path), strict=True):
        assert batch["cu_seq_lens_q"] is batch["cu_seq_lens_k"]
        for name, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert batch[name].device.type == "meta"
                assert (batch[name].shape, batch[name].dtype) == (value.shape, value.dtype)
            else:
                assert batch[name] == value
    assert next(iter(PackedLoader(path, device="cpu")))["input_ids"].device.type == "cpu"


def test_the_device_is_chosen_when_a_pass_starts(path):
    found = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    for loader in (PackedLoader(path, device="auto"), PackedStream(TABLE.to_pylist(), MAX_LENGTH, device="auto")):
        assert loader.device.type == found.type
        assert next(iter(loader))["input_ids"].device == loader.device
        assert pickle.loads(pickle.dumps(loader)).device == loader.device
    for device in (None, "cpu", torch.device("cpu")):
        assert PackedLoader(path, device=device).device == torch.device("cpu")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_dataloader_gets_batches_on_the_cpu(path, num_workers):
    loader = PackedLoader(path, device="auto")
    batch = next(iter(DataLoader(loader, batch_size=None, num_workers=num_workers)))
    assert batch["input_ids"].device.type == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
def test_auto_is_the_current_gpu_and_starts_none_before_a_pass(path):
    code = (
        "import pickle, sys, torch\n"
        "from packsort.torch import PackedLoader\n"
        "loader = pickle.loads(pickle.dumps(PackedLoader(sys.argv[1])))\n"
        "assert not torch.cuda.is_initialized()\n"
        "last = torch.cuda.device_count() - 1\n"
        "torch.cuda.set_device(last)\n"
        "batch = next(iter(loader))\n"
        "assert batch['input_ids'].device == loader.device == torch.device('cuda', last)\n"
        "child = __import__('os').fork()\n"
        "if not child:\n"
        "    assert next(iter(loader))['input_ids'].device.type == 'cpu'\n"
        "    __import__('os')._exit(0)\n"
        "assert __import__('os').waitpid(child, 0)[1] == 0\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, path], check=True, timeout=120)


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
@pytest.mark.parametrize("prefetch", [0, 3])
def test_batches_on_a_gpu_are_those_of_the_processor(path, prefetch):
    busy = torch.ones(4096, 4096, device="cuda")
    for batch, expected in zip(PackedLoader(path, device="cuda", prefetch=prefetch), PackedLoader(path), strict=True):
        busy = busy @ busy.clamp(max=1e-3)  # the previous step still runs when the next batch is taken
        for name, value in expected.items():
            if isinstance(value, torch.Tensor):
                assert batch[name].is_cuda
                assert torch.equal(batch[name].cpu(), value)


def test_a_prefetcher_makes_items_on_request_where_no_thread_is_left():
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setuid(54_321)  # root may start threads beyond the limit
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        prefetcher = Prefetcher(iter(range(9)), ahead=2)
        os._exit(int(list(prefetcher) != list(range(9)) or threads() > 0))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
