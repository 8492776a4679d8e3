"""A model in a forked process: the child answers alone, or says why it cannot."""

import os
import subprocess
import sys

import pytest
from model_files import TINY_FP8, write_random_model

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run(code):
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return found.stdout


def test_a_fork_goes_on_alone():
    """The pool's threads stay with the parent; the child computes the same without them."""
    code = f"""
import os, nemo_fast
model = nemo_fast.Model.load({str(TINY_FP8)!r}, threads=2, context_length=64)
ids = model.generate([1, 5], max_tokens=8, temperature=0).token_ids
child = os.fork()
same = model.generate([1, 5], max_tokens=8, temperature=0).token_ids == ids
if child == 0:
    model.close()
    os._exit(0 if same else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), same)
"""
    assert run(code) == "0 True\n"


def test_a_fork_during_a_step(tmp_path):
    """The model in use is refused in the child; another one, which shares the cores with it, answers."""
    folder = write_random_model(
        tmp_path / "model", hidden_size=512, intermediate_size=2048, num_hidden_layers=8
    )
    code = f"""
import os, signal, threading, time, nemo_fast
idle = nemo_fast.Model.load({str(TINY_FP8)!r}, threads=2, context_length=64)
ids = idle.generate([1, 5], max_tokens=8, temperature=0).token_ids
busy = nemo_fast.Model.load({str(folder)!r}, threads=2)
stream = busy.stream([5], ignore_eos=True)
stopped = False

def work():
    while not stopped:
        busy.logits([1] * 512, positions=[0])

thread = threading.Thread(target=work)
thread.start()
refused = 0
for _ in range(20):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        same = idle.generate([1, 5], max_tokens=8, temperature=0).token_ids == ids
        try:
            busy.stats()
            outcome = 0
        except nemo_fast.GenerationError as error:
            outcome = 1 if "was in use when this process was forked" in str(error) else 2
        del stream
        busy.close()
        idle.close()
        os._exit(outcome if same else 3)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 1), status
    refused += status
stopped = True
thread.join()
stream.close()
print(refused > 0, busy.stats()["kv_pages_free"])
"""
    assert run(code) == "True 8\n"
