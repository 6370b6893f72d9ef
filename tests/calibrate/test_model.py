"""The decoder: its scores are a naive restatement's for any split and mix, whole or in shards, from any checkpoint."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from calibrate.model import Decoder, Entry, KvCache  # noqa: E402
from calibrate.opt import TINY, Config, config, config_of  # noqa: E402
from calibrate.weights import random_weights, weights_of  # noqa: E402
from costmodel import MODELS  # noqa: E402
from tests.calibrate import naive_opt  # noqa: E402
from traces.errors import SlosimError  # noqa: E402

SMALL = Config("small", 2, 24, 4, 40, vocabulary=60, positions=64)
ODD = Config("odd", 2, 24, 4, 40, vocabulary=60, positions=64, embedding=10, norm_first=False)
TENSORS = {shape: naive_opt.made_up(shape) for shape in (SMALL, ODD)}
torch.set_num_threads(1)  # numbers this small are not worth a second one
CLOSE = 2e-4
"""Single precision against double, on scores of size ten."""


def decoder(shape: Config = SMALL, **shards: int) -> Decoder:
    own = replace(shape, **shards)  # type: ignore[arg-type]
    return Decoder(own, weights_of(lambda name, _: TENSORS[shape][name], own))


def prompt(length: int, seed: int = 0) -> list[int]:
    return [int(token) for token in np.random.default_rng(seed).integers(0, SMALL.vocabulary, length)]


def naive(shape: Config, tokens: list[int]) -> naive_opt.Numbers:
    return naive_opt.scores(TENSORS[shape], shape, tokens)


def assert_naive(logits: Any, expected: Any) -> None:
    expected = np.array(expected)
    assert np.abs(logits.numpy() - expected).max() < CLOSE
    assert np.abs(expected).max() > 1, "scores that are all alike would show nothing"


def caches(model: Decoder) -> list[KvCache]:
    return [model.slots(6, 48), model.cache(40, 8), model.cache(300, 1)]


@pytest.mark.parametrize("shape", [SMALL, ODD], ids=["norm first", "norm last, projected"])
@given(data=st.data())
@settings(max_examples=25)
def test_any_split_of_any_mix_gives_the_naive_scores(shape: Config, data: st.DataObject) -> None:
    model = decoder(shape)
    cache = data.draw(st.sampled_from(caches(model)))
    whole = {sequence: prompt(data.draw(st.integers(1, 30)), sequence) for sequence in range(4)}
    expected = {sequence: naive(shape, tokens) for sequence, tokens in whole.items()}
    done = dict.fromkeys(whole, 0)
    while left := [sequence for sequence in whole if done[sequence] < len(whole[sequence])]:
        chosen = data.draw(st.lists(st.sampled_from(left), min_size=1, unique=True))
        sizes = [data.draw(st.integers(1, len(whole[one]) - done[one])) for one in chosen]
        entries = [
            Entry(one, whole[one][done[one] : done[one] + size], done[one])
            for one, size in zip(chosen, sizes, strict=True)
        ]
        logits = model.logits(entries, cache)
        done |= {one: done[one] + size for one, size in zip(chosen, sizes, strict=True)}
        assert_naive(logits, [expected[one][done[one] - 1] for one in chosen])


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_as_close_as_its_rounding_allows(kind: Any) -> None:
    tensors, tokens = TENSORS[SMALL], prompt(25)
    model = Decoder(SMALL, weights_of(lambda name, _: tensors[name], SMALL, dtype=kind))
    cache = model.cache(10, 4)
    model.forward([Entry(1, tokens[:11], 0)], cache)
    logits = model.logits([Entry(1, tokens[11:24], 11)], cache)
    assert logits.dtype == cache.numbers.dtype == kind
    expected = naive(SMALL, tokens[:24])[-1]
    rounding = {torch.bfloat16: 2**-8, torch.float16: 2**-11}[kind]
    assert np.abs(logits[0].float().numpy() - expected).max() < 8 * rounding * np.abs(expected).max()


def test_forward_gives_the_best_token_and_goes_on_from_it() -> None:
    model, tokens = decoder(), prompt(9)
    cache = model.cache(10, 4)
    for _ in range(12):
        start = 0 if len(tokens) == 9 else len(tokens) - 1
        expected = int(naive(SMALL, tokens)[-1].argmax())
        assert model.forward([Entry(5, tokens[start:], start)], cache).tolist() == [expected]
        tokens.append(expected)


def test_swapped_sequences_go_on_where_they_were_and_leave_their_room() -> None:
    model, tokens = decoder(), prompt(20)
    cache = model.cache(6, 4)
    model.forward([Entry(1, tokens[:17], 0)], cache)
    assert cache.free_blocks == 1
    assert cache.swap_out(1) == 17
    assert cache.free_blocks == 6
    model.forward([Entry(2, prompt(9, 2), 0)], cache)
    with pytest.raises(SlosimError, match="cannot hold 17 tokens of sequence 1: 5 blocks of 4 are missing and 3"):
        cache.swap_in(1)
    cache.free(2)
    assert cache.swap_in(1) == 17
    assert_naive(model.logits([Entry(1, tokens[17:], 17)], cache), naive(SMALL, tokens)[-1:])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 40), st.sampled_from(["reserve", "free"]))))
def test_blocks_held_and_free_add_up(steps: list[tuple[int, int, str]]) -> None:
    cache = KvCache(SMALL, 12, 4)
    for sequence, tokens, what in steps:
        if what == "free":
            cache.free(sequence)
        elif -(-tokens // 4) - len(cache.tables.get(sequence, [])) > cache.free_blocks:
            with pytest.raises(SlosimError, match="cannot hold"):
                cache.reserve(sequence, tokens)
        else:
            cache.reserve(sequence, tokens)
            assert len(cache.tables[sequence]) * 4 >= tokens
        held = [block for table in cache.tables.values() for block in table]
        assert sorted(set(held)) == sorted(held)
        assert len(held) + cache.free_blocks == 12


class Together:
    """The links of several shards in threads: every one waits for the parts of all."""

    def __init__(self, shards: int) -> None:
        self.parts: list[Any] = [None] * shards
        self.barrier = threading.Barrier(shards, timeout=20)

    def exchanged(self, shard: int, part: Any) -> list[Any]:
        self.parts[shard] = part
        self.barrier.wait()
        parts = list(self.parts)
        self.barrier.wait()
        return parts


class Linked:
    def __init__(self, together: Together, shard: int) -> None:
        self.together, self.shard = together, shard

    def total(self, part: Any) -> Any:
        return sum(self.together.exchanged(self.shard, part))

    def joined(self, part: Any) -> Any:
        return torch.cat(self.together.exchanged(self.shard, part), dim=-1)


@pytest.mark.parametrize("shape", [SMALL, ODD], ids=["norm first", "norm last, projected"])
def test_shards_together_give_the_naive_scores(shape: Config) -> None:
    together, tokens = Together(4), prompt(12)
    found: dict[int, Any] = {}

    def run(shard: int) -> None:
        one = replace(decoder(shape, shards=4, shard=shard), link=Linked(together, shard))
        cache = one.slots(2, 16)
        one.forward([Entry(1, tokens[:7], 0)], cache)
        found[shard] = one.logits([Entry(1, tokens[7:], 7), Entry(2, tokens[:1], 0)], cache)

    threads = [threading.Thread(target=run, args=(shard,)) for shard in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for shard in range(4):
        assert_naive(found[shard], naive(shape, tokens)[[-1, 0]])


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("opt-")])
def test_every_size_has_its_published_number_of_parameters(name: str) -> None:
    shape = config(name)
    assert shape.parameters == MODELS[name].parameters
    assert shape.facts == MODELS[name]
    assert 2 * shape.kv_numbers == MODELS[name].kv_bytes_per_token


@pytest.mark.parametrize("shape", [SMALL, ODD, TINY, replace(SMALL, shards=2), replace(ODD, shards=4, shard=1)])
def test_weights_have_as_many_numbers_as_the_shapes_say(shape: Config) -> None:
    weights = random_weights(shape)
    assert weights.numbers() == shape.parameters
    assert all(tensor.float().std() > 0.01 for tensor in (weights.tokens, *weights.layers[0].fc1))


def checkpoint(folder: Path, shape: Config, kind: str) -> Path:
    told = {
        "model_type": "opt",
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "ffn_dim": shape.ffn,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "word_embed_proj_dim": shape.width,
        "do_layer_norm_before": shape.norm_first,
    }
    (folder / "config.json").write_text(json.dumps(told))
    tensors = {f"model.decoder.{name}": tensor.half() for name, tensor in TENSORS[shape].items()}
    if kind != "safetensors":
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=kind == "bin")
        return folder
    for number in range(2):
        own = dict(list(tensors.items())[number::2])
        numbers, header = b"", {"__metadata__": {"format": "pt"}}
        for name, tensor in own.items():
            place = [len(numbers), len(numbers) + 2 * tensor.numel()]
            header[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": place}  # type: ignore[dict-item]
            numbers += tensor.numpy().tobytes()
        text = json.dumps(header).encode()
        (folder / f"model-{number}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + numbers)
    return folder


@pytest.mark.parametrize("kind", ["bin", "old bin", "safetensors"])
@pytest.mark.parametrize("shape", [SMALL, ODD], ids=["norm first", "norm last, projected"])
def test_a_checkpoint_folder_is_loaded(shape: Config, kind: str, tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, shape, kind)
    assert replace(config_of(folder), name=shape.name) == shape
    model, tokens = Decoder.loaded(folder), prompt(11)
    halves = {name: tensor.half() for name, tensor in TENSORS[shape].items()}
    assert_naive(model.logits([Entry(0, tokens, 0)], model.slots(1, 16)), naive_opt.scores(halves, shape, tokens)[-1:])


def test_positions_beyond_a_checkpoint_repeat_its_own(tmp_path: Path) -> None:
    model = Decoder.loaded(checkpoint(tmp_path, SMALL, "bin"), positions=100)
    own = model.weights.positions
    assert len(own) == 102
    assert torch.equal(own[2 + 64 : 102], own[2 : 2 + 36])


@pytest.mark.parametrize("shape", [SMALL, ODD], ids=["norm first", "norm last, projected"])
def test_scores_are_those_of_hugging_faces_opt(shape: Config, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    told = json.loads((checkpoint(tmp_path, shape, "bin") / "config.json").read_text())
    del told["model_type"]
    theirs = transformers.OPTForCausalLM(transformers.OPTConfig(**told, dropout=0.0)).eval()
    named = {f"model.decoder.{name}": tensor for name, tensor in TENSORS[shape].items()}
    theirs.load_state_dict(named | {"lm_head.weight": named["model.decoder.embed_tokens.weight"]})
    tokens, model = prompt(30), decoder(shape)
    cache = model.cache(10, 4)
    model.forward([Entry(0, tokens[:13], 0)], cache)
    ours = model.logits([Entry(0, tokens[13:], 13)], cache)[0]
    with torch.no_grad():
        assert (theirs(torch.tensor([tokens])).logits[0, -1] - ours).abs().max() < CLOSE


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "at least one entry"),
        ([Entry(3, [], 0)], "sequence 3: 0 tokens from 0 make no entry"),
        ([Entry(3, [1], 0), Entry(3, [2], 1)], "a sequence stands twice"),
        ([Entry(3, [1] * 9, 60)], "69 tokens are more than the model's 64 positions"),
        ([Entry(3, [1] * 9, 0)], "cannot hold 9 tokens of sequence 3: 3 blocks of 4 are missing and 2 are free"),
    ],
)
def test_impossible_forwards_are_refused(entries: list[Entry], message: str) -> None:
    model = decoder()
    with pytest.raises(SlosimError, match=message):
        model.forward(entries, model.cache(2, 4))


def test_impossible_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match=r"no OPT size 'opt-14b': choose from opt-125m.*opt-tiny"):
        config("opt-14b")
    with pytest.raises(SlosimError, match="opt-13b: heads 40 cannot be cut into 3 shards"):
        config("opt-13b", shards=3)
    with pytest.raises(SlosimError, match=r"config.json: cannot be read"):
        config_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(SlosimError, match=r"config.json: is not an OPT model"):
        config_of(tmp_path)
    told = json.loads((checkpoint(tmp_path, SMALL, "bin") / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(told | {"ffn_dim": 41}))
    with pytest.raises(SlosimError, match=r"tensor layers.0.fc1.weight is \(40, 24\), not \(41, 24\)"):
        Decoder.loaded(tmp_path)
    for wrong in (b"version https://git-lfs.github.com/spec/v1\noid sha256:", b""):
        (tmp_path / "pytorch_model.bin").write_bytes(wrong)
        with pytest.raises(SlosimError, match=r"pytorch_model.bin: is not a checkpoint's file \(.+\); copy"):
            Decoder.loaded(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(SlosimError, match=r"has no \*.safetensors and no"):
        Decoder.loaded(tmp_path)
    header = b'{"model.decoder.embed_tokens.weight": {"dtype": "F8_E4M3", "shape": [9], "data_offsets": [0, 9]}}'
    for contents, message in (
        (b"\x05\0\0\0\0\0\0\0wrong", "is not a safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is not a safetensors file .its header is longer than it is"),
        (len(header).to_bytes(8, "little") + header + b"123", "is not a safetensors file .it is cut off"),
        (len(header).to_bytes(8, "little") + header + b"123456789", "embed_tokens.weight is of type F8_E4M3; convert"),
    ):
        (tmp_path / "model.safetensors").write_bytes(contents)
        with pytest.raises(SlosimError, match=f"model.safetensors: .*{message}"):
            Decoder.loaded(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(SlosimError, match=r"config.json: is not an OPT model"):
        config_of(tmp_path)
