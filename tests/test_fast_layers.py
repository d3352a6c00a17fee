"""What computes faster gives what the published layers give."""

import copy

import pytest
import torch
from transformers import ASTFeatureExtractor, masking_utils

from genreast import attention, last_layer
from genreast.inference import GenreClassifier, packed
from genreast.training.augment import patchout
from genreast.training.model import from_scratch, set_labels

GENRES = ["rock", "jazz", "disco"]


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = from_scratch("tiny", max_length=256)
    set_labels(model, GENRES)
    torch.nn.init.normal_(model.classifier.dense.weight)
    return model


@pytest.fixture
def features():
    return torch.randn(3, 256, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_a_last_layer_for_the_pooled_tokens_gives_the_same_answer_and_gradients(
    model, features, kind, checkpointing
):
    model.double().set_attn_implementation(kind)  # rounding then hides no difference
    ours = copy.deepcopy(model).train()
    last_layer.use(ours)
    if checkpointing:
        ours.activation_checkpointing_enable()
    found = []
    for each in (model.train(), ours):
        with patchout(each, 0.3, "unstructured", torch.Generator().manual_seed(1)):
            outputs = each(features.double(), labels=torch.tensor([0, 2, 1]))
        outputs.loss.backward()
        found.append({"logits": outputs.logits, **{n: p.grad for n, p in each.named_parameters()}})
    stock, pooled = found
    assert stock.keys() == pooled.keys()
    for name, expected in stock.items():
        torch.testing.assert_close(pooled[name], expected, atol=1e-12, rtol=1e-9, msg=name)
    assert max(tensor.abs().max() for tensor in stock.values()) > 0.1


def test_a_last_layer_for_the_pooled_tokens_drops_attention_in_training_alone(model, features):
    model.audio_spectrogram_transformer.layers[-1].attention.attention_dropout = 0.5
    last_layer.use(model)
    model.train()
    assert (model(features).logits - model(features).logits).abs().max() > 1e-4
    model.eval()
    assert torch.equal(model(features).logits, model(features).logits)


def test_a_model_to_compile_is_given_no_mask_and_answers_the_same(model, features, monkeypatch):
    monkeypatch.setattr(masking_utils, "is_torchdynamo_exporting", lambda: True)
    masks, attend = [], torch.nn.functional.scaled_dot_product_attention

    def spy(*words, attn_mask=None, **options):
        masks.append(attn_mask)
        return attend(*words, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    expected = model(features).logits
    assert all(mask is not None for mask in masks), "the library makes no needless mask any more"
    masks.clear()
    attention.use_no_mask(model)
    torch.testing.assert_close(model(features).logits, expected)
    assert masks and all(mask is None for mask in masks)


def test_a_trainer_that_compiles_gives_its_model_no_mask(make_trainer):
    compiles = {"torch_compile": True, "torch_compile_backend": "eager"}
    assert make_trainer(**compiles).model.config._attn_implementation == attention.UNMASKED
    assert make_trainer().model.config._attn_implementation == "sdpa"


@pytest.mark.skipif(not packed.can_pack(), reason="this CPU does not multiply bfloat16")
def test_packed_layers_answer_as_autocast_does(model, features):
    exact = model.eval()(features).logits
    ours = copy.deepcopy(model)
    packed.use(ours)
    left = {name for name, _ in ours.audio_spectrogram_transformer.layers.named_parameters()}
    assert all("layernorm" in name for name in left), "float32 weights are given up"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(features).logits
        near = ours(features).logits
    off, off_packed = ((each.float() - exact).abs().mean() for each in (rounded, near))
    assert 0 < off_packed < 1.5 * off


def test_a_large_model_hears_a_batch_window_by_window_and_says_the_same(model, monkeypatch):
    monkeypatch.setattr("genreast.precision.LARGE", 0)
    extractor = ASTFeatureExtractor(max_length=256)
    waveforms = torch.randn(5, 40_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([40_000, 30_000, 40_000, 1000, 40_000])
    large = GenreClassifier(copy.deepcopy(model), extractor, "cpu", "float32")
    monkeypatch.undo()
    small = GenreClassifier(copy.deepcopy(model), extractor, "cpu", "float32")
    heard = []
    body = large.model.audio_spectrogram_transformer
    body.register_forward_pre_hook(lambda _, inputs: heard.append(len(inputs[0])))
    logits, pooled = large.logits(waveforms, lengths)
    assert sum(heard) == 5 and max(heard) == max(1, torch.get_num_threads() // 2)
    expected, expected_pooled = small.logits(waveforms, lengths)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(pooled, expected_pooled, atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_in_turn_attend_as_torch_does(dtype):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 5, 37, 16).to(dtype) for _ in range(3))
    ours = [part.clone().requires_grad_() for part in (query, key, value)]
    exactly = [part.float().requires_grad_() for part in (query, key, value)]
    mixed, _ = attention.heads_in_turn(torch.nn.Identity(), *ours, scaling=0.3)
    exact = torch.nn.functional.scaled_dot_product_attention(*exactly, scale=0.3).transpose(1, 2)
    atol = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(mixed.float(), exact, atol=atol, rtol=0)
    push = torch.randn(mixed.shape).to(dtype)
    mixed.backward(push)
    exact.backward(push.float())
    for one, other in zip(ours, exactly, strict=True):
        torch.testing.assert_close(one.grad.float(), other.grad, atol=atol, rtol=0)
    with torch.no_grad():
        plain, _ = attention.heads_in_turn(torch.nn.Identity(), *ours, scaling=0.3)
    assert torch.equal(plain, mixed)


def test_bfloat16_on_a_cpu_attends_by_plain_products(tiny_model, song_files, monkeypatch):
    ours, calls = attention.heads_in_turn, []
    monkeypatch.setattr(
        attention, "heads_in_turn", lambda *words, **named: calls.append(1) or ours(*words, **named)
    )
    for tiles, used in ((True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda tiles=tiles: {"amx_bf16": tiles})
        GenreClassifier.from_pretrained(tiny_model, "cpu", "bfloat16")(song_files["ten"])
        assert bool(calls) == used
