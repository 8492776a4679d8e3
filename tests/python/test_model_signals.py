"""Signals while a model computes: their handlers, and Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

from model_files import PROMPT, write_random_model

from nemo_fast import GenerationError, Model


def test_a_signal_handler_may_use_the_model(tiny):
    """Signals are handled between passes, while nothing is locked."""
    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(tiny.stats()["kv_pages_total"]))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for _ in range(20):
            tiny.logits([1] * 256, positions=[0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert set(seen) == {4}


def test_a_signal_handler_is_refused_the_pages_of_logits(tmp_path):
    """It would wait for ever: what has them goes on when the handler has returned."""
    folder = write_random_model(tmp_path / "model", max_position_embeddings=2048)
    model = Model.load(folder)
    seen = []

    def ask(*_):
        try:
            seen.append(len(model.generate(PROMPT[:3], max_tokens=2, ignore_eos=True).token_ids))
        except GenerationError as error:
            seen.append(str(error))

    before = signal.signal(signal.SIGALRM, ask)
    try:
        for attempt in range(100):
            signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.001 * (attempt % 10))
            assert model.logits([1] * 2048, positions=[0]).shape == (1, 100)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if any(isinstance(outcome, str) for outcome in seen):
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    refusal = "1 pages of the KV cache are needed and 0 are free: other requests run"
    assert refusal in seen
    assert set(seen) <= {2, refusal}
    found = model.stats()
    assert (found["requests_waiting"], found["requests_running"], found["kv_pages_free"]) == (0, 0, 32)


def test_control_c_ends_a_generation(tmp_path):
    # Room for an answer that takes many seconds.
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8}
    folder = write_random_model(tmp_path / "model", **shape, max_position_embeddings=4096)
    # A job in the background of a shell is born with the signal ignored.
    code = f"""
import signal, nemo_fast
signal.signal(signal.SIGINT, signal.default_int_handler)
model = nemo_fast.Model.load({str(folder)!r})
print("ready", flush=True)
try:
    model.generate([5], ignore_eos=True)
except KeyboardInterrupt:
    print("stopped", model.stats()["requests_running"])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=20)[0] == "stopped 0\n"
