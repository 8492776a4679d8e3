"""Requests to a model: what goes in, what comes out, and what is refused."""

import gc
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_files import PROMPT, TINY_FP8, write_random_model

import nemo_fast
from nemo_fast import GenerationError, Model


def test_what_a_model_says_of_itself(tiny):
    assert tiny.config["head_dim"] == 32
    assert tiny.config["hidden_size"] // tiny.config["num_attention_heads"] == 24
    assert tiny.device == "cpu"
    assert tiny.context_length == 256
    assert tiny.tokenizer is None
    assert repr(tiny) == "Model('tiny-nemo-fp8-channel', device='cpu', context_length=256)"
    assert tiny.stats() == {
        "requests_waiting": 0,
        "requests_running": 0,
        "kv_pages_free": 4,
        "kv_pages_total": 4,
        "threads": tiny.stats()["threads"],
    }


def test_a_completion_has_the_fields_of_openai(nemo):
    completion = nemo.generate("Hello", max_tokens=5, seed=1)
    assert completion.choices[0].index == 0
    assert completion.token_ids == completion.choices[0].token_ids
    assert len(completion.token_ids) == 5
    assert completion.finish_reason == "length"
    assert completion.text == nemo.tokenizer.decode(completion.token_ids)
    assert completion.usage.prompt_tokens == 2
    assert completion.usage.completion_tokens == 5
    assert completion.usage.total_tokens == 7
    fields = json.loads(completion.to_json())
    assert fields == completion.to_dict()
    assert fields["id"].startswith("cmpl-")
    assert fields["object"] == "text_completion"
    assert abs(fields["created"] - time.time()) < 60
    assert fields["model"] == "thin-nemo"
    assert fields["system_fingerprint"].startswith("fp_")
    assert fields["choices"][0]["finish_reason"] == "length"


def test_a_chat_answer_has_the_fields_of_openai(nemo):
    messages = [{"role": "user", "content": "Hi"}]
    answer = nemo.chat(messages, max_tokens=4, seed=1)
    fields = answer.to_dict()
    assert fields["object"] == "chat.completion"
    message = fields["choices"][0]["message"]
    assert message == {"content": answer.choices[0].message.content, "role": "assistant", "refusal": None}
    assert answer.usage.prompt_tokens == nemo.tokenizer.count_chat(messages)
    prompt = nemo.tokenizer.encode_chat(messages)
    assert nemo.generate(prompt, max_tokens=4, seed=1).text == message["content"]


def test_greedy_takes_the_likeliest_token(tiny):
    ids = list(PROMPT)
    for token in tiny.generate(PROMPT, max_tokens=10, temperature=0, ignore_eos=True).token_ids:
        assert token == tiny.logits(ids)[-1].argmax()
        ids.append(token)


def test_a_seed_draws_the_same_answer_whatever_else_runs(nemo):
    options = {"max_tokens": 12, "seed": 7, "temperature": 1.3}
    alone = nemo.generate("Once", **options)
    with nemo.stream("Something else", max_tokens=100) as other:
        next(other)
        assert nemo.generate("Once", **options).token_ids == alone.token_ids
    several = nemo.generate("Once", n=3, **options)
    assert several.token_ids == alone.token_ids
    assert len({choice.token_ids for choice in several.choices}) == 3
    assert several.usage.completion_tokens == 36
    assert several.usage.prompt_tokens == 2
    assert nemo.generate("Once", **options | {"seed": 8}).token_ids != alone.token_ids
    assert nemo.generate("Once", **options | {"seed": None}).token_ids != alone.token_ids


def test_a_stream_joins_to_the_whole_answer(nemo):
    options = {"max_tokens": 40, "seed": 3, "n": 2}
    whole = nemo.generate("Once", **options)
    chunks = list(nemo.stream("Once", **options))
    assert chunks[-1].choices == ()
    assert chunks[-1].usage == whole.usage
    assert len({chunk.id for chunk in chunks}) == 1
    for choice in whole.choices:
        mine = [chunk.choices[0] for chunk in chunks[:-1] if chunk.choices[0].index == choice.index]
        assert "".join(part.text for part in mine) == choice.text
        assert sum((part.token_ids for part in mine), ()) == choice.token_ids
        assert [part.finish_reason for part in mine[:-1]] == [None] * (len(mine) - 1)
        assert mine[-1].finish_reason == choice.finish_reason
        assert "\ufffd" not in "".join(part.text for part in mine[:-1]) or "\ufffd" in choice.text


def test_a_chat_stream_has_the_deltas_of_openai(nemo):
    messages = [{"role": "user", "content": "Hi"}]
    whole = nemo.chat(messages, max_tokens=8, seed=2)
    chunks = list(nemo.chat(messages, max_tokens=8, seed=2, stream=True))
    deltas = [chunk.to_dict()["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert all(list(delta) == ["content"] for delta in deltas[1:-1])
    assert "".join(delta.get("content", "") for delta in deltas) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:-1]] == ["length"]
    assert chunks[-1].usage == whole.usage
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_end_tokens_end_an_answer_and_are_counted(tiny):
    free = tiny.generate(PROMPT, max_tokens=20, temperature=0, ignore_eos=True).token_ids
    third = free.index(free[2])
    ended = tiny.generate(PROMPT, max_tokens=20, temperature=0, stop_token_ids=[free[2]])
    assert ended.token_ids == free[: third + 1]
    assert ended.finish_reason == "stop"
    assert ended.usage.completion_tokens == third + 1


def test_the_models_own_end_token(tmp_path):
    """A head whose end token always wins ends every answer, unless it is to be ignored."""
    head = np.zeros((100, 32), np.float32)
    folder = write_random_model(tmp_path / "model", tensors={"lm_head.weight": head}, eos_token_id=[7, 0])
    with Model.load(folder) as model:
        # All logits are equal, so the lowest id is drawn.
        ended = model.generate([5], temperature=0, max_tokens=3)
        assert (ended.token_ids, ended.finish_reason) == ((0,), "stop")
        ignored = model.generate([5], temperature=0, max_tokens=3, ignore_eos=True)
        assert (ignored.token_ids, ignored.finish_reason) == ((0, 0, 0), "length")


def test_a_stop_string_cuts_the_text_before_it(nemo):
    free = nemo.generate("Once", max_tokens=30, seed=5)
    stop = free.text[10:13]
    cut = nemo.generate("Once", max_tokens=30, seed=5, stop=stop)
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert free.token_ids[: len(cut.token_ids)] == cut.token_ids
    assert cut.usage.completion_tokens == len(cut.token_ids)
    streamed = "".join(chunk.text for chunk in nemo.stream("Once", max_tokens=30, seed=5, stop=[stop, "\0"]))
    assert streamed == cut.text


@given(data=st.data())
def test_a_stream_shows_what_the_whole_answer_has(nemo, data):
    """For any seed and stop strings: chunks join to the text, which has no stop string in it."""
    seed = data.draw(st.integers(0, 2**64 - 1))
    stop = data.draw(st.lists(st.text(min_size=1, max_size=3), max_size=4))
    options = {"max_tokens": 6, "seed": seed, "stop": stop}
    whole = nemo.generate("x", **options)
    assert "".join(chunk.text for chunk in nemo.stream("x", **options)) == whole.text
    assert not any(string in whole.text for string in stop)
    assert nemo.tokenizer.decode(whole.token_ids).startswith(whole.text)


@given(ids=st.lists(st.integers(0, 999), min_size=1, max_size=200), cut=st.integers(0, 199))
def test_logits_do_not_depend_on_how_a_prompt_is_computed(tiny, ids, cut):
    """Bit for bit: a prefix computed alone, or as part of the whole, gives the same logits."""
    cut %= len(ids)
    whole = tiny.logits(ids)
    assert np.array_equal(tiny.logits(ids[: cut + 1]), whole[: cut + 1])
    assert np.array_equal(tiny.logits(ids, positions=[cut, 0]), whole[[cut, 0]])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_logits_do_not_depend_on_the_threads(tiny, threads):
    ids = np.arange(200) * 7 % 1000
    with Model.load(TINY_FP8, threads=threads, context_length=256) as model:
        assert model.stats()["threads"] == threads
        assert np.array_equal(model.logits(ids), tiny.logits(ids))


def test_the_context_is_filled_exactly(tiny):
    full = tiny.generate(PROMPT, temperature=0, ignore_eos=True)
    assert len(PROMPT) + len(full.token_ids) == tiny.context_length
    assert full.finish_reason == "length"
    assert len(tiny.generate([1] * 255, ignore_eos=True).token_ids) == 1


def test_prompts_of_any_integer_kind_are_the_same(tiny):
    expected = tiny.generate(PROMPT, max_tokens=3, temperature=0).token_ids
    for prompt in (tuple(PROMPT), np.array(PROMPT), np.array(PROMPT, np.uint16)):
        assert tiny.generate(prompt, max_tokens=3, temperature=0).token_ids == expected


def test_a_model_without_a_tokenizer_takes_ids_only(tiny):
    with pytest.raises(ValueError, match="tiny-nemo-fp8-channel has no tokenizer"):
        tiny.generate("text")
    with pytest.raises(ValueError, match="has no tokenizer"):
        tiny.chat([{"role": "user", "content": "Hi"}])
    with pytest.raises(ValueError, match="stop needs a tokenizer"):
        tiny.generate(PROMPT, stop="x")
    assert tiny.generate(PROMPT, max_tokens=2).text == ""


def test_a_closed_model_says_so():
    model = Model.load(TINY_FP8, context_length=64)
    stream = model.stream(PROMPT, max_tokens=10)
    next(stream)
    model.close()
    model.close()
    for use in (
        lambda: next(stream),
        lambda: model.generate(PROMPT),
        lambda: model.logits(PROMPT),
        model.stats,
    ):
        with pytest.raises(GenerationError, match="the model is closed"):
            use()
    assert model.config["hidden_size"] == 96


def test_a_dropped_or_closed_stream_gives_its_memory_back(tiny):
    free = tiny.stats()["kv_pages_free"]
    for end in (
        lambda stream: stream.close(),
        lambda stream: stream.__exit__(None, None, None),
        lambda _: None,
    ):
        stream = tiny.stream(PROMPT, max_tokens=100, ignore_eos=True)
        next(stream)
        assert tiny.stats()["requests_running"] == 1
        end(stream)
        del stream
        gc.collect()
        assert tiny.stats()["requests_running"] == 0
        assert tiny.stats()["kv_pages_free"] == free
    unstarted = tiny.stream(PROMPT, max_tokens=100)
    assert tiny.stats()["requests_waiting"] == 1
    unstarted.close()
    assert list(unstarted) == []
    assert tiny.stats()["requests_waiting"] == 0


def test_requests_from_many_threads(nemo):
    """Each gets its own answer, the same as alone; memory comes back."""
    prompts = [f"Prompt {i}" for i in range(8)]
    expected = [nemo.generate(prompt, max_tokens=10, seed=1).token_ids for prompt in prompts]
    found = {}

    def ask(i):
        for _ in range(3):
            streamed = nemo.stream(prompts[i], max_tokens=10, seed=1)
            found[i] = sum((choice.token_ids for chunk in streamed for choice in chunk.choices), ())

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(8)] == expected
    assert nemo.stats()["kv_pages_free"] == nemo.stats()["kv_pages_total"]


def test_models_side_by_side_share_the_cores():
    """Of one thread and of more than there are cores: each answers as if it were alone."""
    models = [Model.load(TINY_FP8, threads=threads) for threads in (1, 1, 2, 3, 8)]
    expected = models[0].generate(PROMPT, max_tokens=20, seed=1, ignore_eos=True).token_ids
    with ThreadPoolExecutor(len(models)) as pool:
        for _ in range(5):
            answers = [
                pool.submit(model.generate, PROMPT, max_tokens=20, seed=1, ignore_eos=True)
                for model in models
            ]
            assert [answer.result(timeout=60).token_ids for answer in answers] == [expected] * 5
    for model in models:
        model.close()


def test_more_choices_than_fit_at_once_wait_their_turn(tiny):
    """Each of them may fill the whole context, and there is memory for one context."""
    answers = tiny.generate([1] * 250, n=20, seed=1, ignore_eos=True)
    assert [len(choice.token_ids) for choice in answers.choices] == [6] * 20


def test_numbers_of_numpy_are_numbers(tiny):
    options = {"temperature": 0, "ignore_eos": True}
    free = tiny.generate(PROMPT, max_tokens=np.int64(5), seed=np.int64(1), **options).token_ids
    stopped = tiny.generate(PROMPT, max_tokens=5, stop_token_ids=np.array([free[1]]), **options)
    assert stopped.token_ids == free[:2]
    zero = np.array([0])
    assert tiny.generate(PROMPT, max_tokens=5, stop_token_ids=zero, **options).token_ids == free


def test_threads_share_a_stream(tiny):
    """Each chunk goes to one of them, and all of them see the end."""
    stream = tiny.stream(PROMPT, max_tokens=60, ignore_eos=True)
    chunks, threads = [], []
    for _ in range(3):
        threads.append(threading.Thread(target=lambda: chunks.extend(stream)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    assert sum(len(choice.token_ids) for chunk in chunks for choice in chunk.choices) == 60


def test_logits_wait_for_an_answer_that_fills_the_context(tiny):
    alone = tiny.logits(PROMPT)
    with tiny.stream(PROMPT, ignore_eos=True) as stream:
        chunks = [next(stream)]
        assert np.array_equal(tiny.logits(PROMPT), alone)
        assert tiny.stats()["requests_running"] == 0
        chunks.extend(stream)
    # What the answer brought meanwhile was kept for its reader.
    assert chunks[-1].usage.total_tokens == tiny.context_length


def test_other_threads_wait_for_the_pages_of_logits(tmp_path):
    folder = write_random_model(tmp_path / "model", max_position_embeddings=2048)
    model = Model.load(folder)
    with ThreadPoolExecutor(1) as pool:
        for _ in range(5):
            answer = pool.submit(model.generate, PROMPT[:3], max_tokens=2, ignore_eos=True)
            assert model.logits([1] * 2048, positions=[0]).shape == (1, 100)
            assert len(answer.result(timeout=60).token_ids) == 2


def test_build_info():
    info = nemo_fast.build_info()
    assert info["version"] == nemo_fast.__version__
    assert info["profile"] in {"release", "debug"}
    assert info["cuda_driver"] is None
    assert set(info) == {
        "version",
        "profile",
        "git_commit",
        "cpu_level",
        "cpu_level_refused",
        "engine_cpu_level",
        "cuda_driver",
    }
