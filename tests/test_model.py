"""The model's starts, labels and sizes."""

import pytest
import torch
from conftest import TINY
from transformers import ASTConfig, ASTForAudioClassification

from genreast import model_window
from genreast.errors import UserError
from genreast.training import model as models


@pytest.fixture
def small() -> ASTForAudioClassification:
    torch.manual_seed(0)
    model = ASTForAudioClassification(
        ASTConfig(**TINY, id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2})
    )
    with torch.no_grad():
        torch.nn.init.normal_(model.audio_spectrogram_transformer.embeddings.position_embeddings)
        torch.nn.init.normal_(model.classifier.dense.weight)
    return model.eval()


@pytest.mark.parametrize("size", models.SIZES)
def test_from_scratch_has_the_named_shape_and_distinct_positions(size):
    if size == "base":
        pytest.skip("86 M random parameters take seconds; the shape is a constant")
    model = models.from_scratch(size, max_length=1008)
    positions = model.audio_spectrogram_transformer.embeddings.position_embeddings
    assert positions.shape[1] == 2 + 8 * 63
    assert positions.std() > 0.01
    for layer in model.audio_spectrogram_transformer.layers.modules():
        if isinstance(layer, torch.nn.Linear):
            heard = layer(torch.randn(200, layer.in_features))
            assert 0.9 < heard.std() < 1.1, "a signal keeps its size"


def test_the_original_size_changes_nothing(small):
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    models.resize(small, 1024, 10, 10)
    assert all(torch.equal(before[name], tensor) for name, tensor in small.state_dict().items())


@pytest.mark.parametrize(("seconds", "columns"), [(5, 50), (30, 300)])
def test_another_window_interpolates_positions_in_time_and_frequency(small, seconds, columns):
    """A position embedding that is linear in time and mel stays linear at any size."""
    embeddings = small.audio_spectrogram_transformer.embeddings
    rows, old_columns = embeddings.get_shape(small.config)
    mel = torch.linspace(0, 1, rows)[:, None].expand(rows, old_columns)
    time = torch.linspace(-1, 1, old_columns).expand(rows, old_columns)
    with torch.no_grad():
        embeddings.position_embeddings[0, 2:, 0] = mel.flatten()
        embeddings.position_embeddings[0, 2:, 1] = time.flatten()
    special = embeddings.position_embeddings[0, :2].clone()
    models.resize(small, model_window.window_frames(seconds))
    resized = embeddings.position_embeddings[0]
    assert torch.equal(resized[:2], special)
    assert embeddings.get_shape(small.config) == (rows, columns)
    grid = resized[2:, :2].reshape(rows, columns, 2)
    inner = slice(columns // 10, -columns // 10)
    assert (grid[..., 0] - mel[:, :1]).abs().max() < 1e-3
    centres = (torch.arange(columns) + 0.5) / columns * old_columns - 0.5
    expected = centres / (old_columns - 1) * 2 - 1
    torch.testing.assert_close(grid[4, inner, 1], expected[inner], atol=2e-3, rtol=0)
    logits = small(torch.zeros(1, small.config.max_length, 128)).logits
    assert logits.shape == (1, 3)


def test_another_stride_changes_the_patches_and_round_trips(small, tmp_path):
    models.resize(small, time_stride=16, frequency_stride=16)
    features = torch.randn(2, 1024, 128)
    expected = small(features).logits
    small.save_pretrained(tmp_path)
    loaded = ASTForAudioClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(features).logits, expected)


def test_the_same_labels_keep_the_head_in_the_new_order(small):
    features = torch.randn(2, 1024, 128)
    before = small(features).logits
    assert not models.set_labels(small, ["c", "a", "b"])
    assert torch.equal(small(features).logits, before[:, [2, 0, 1]])
    assert small.config.label2id == {"c": 0, "a": 1, "b": 2}


def test_other_labels_get_a_new_head(small):
    small.config.id2label[1] = None  # as a file that another wrote may have it
    assert models.set_labels(small, ["rock", "jazz"])
    assert small(torch.zeros(1, 1024, 128)).logits.shape == (1, 2)
    assert small.config.id2label == {0: "rock", 1: "jazz"}
    assert small.config.num_labels == 2


def test_weights_are_loaded_by_the_names_they_are_saved_under(small, tmp_path):
    small.save_pretrained(tmp_path)
    other = ASTForAudioClassification(small.config)
    models.load_weights(other, tmp_path)
    for name, tensor in small.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_the_window_is_the_clips_length_where_the_model_can_hear_it():
    config = ASTConfig(**TINY)
    model_window.set_window(config, 10.0)
    assert model_window.window_samples(config) == 160_000
    model_window.set_window(config, 5.0)
    assert model_window.window_samples(config) == 80_000
    model_window.set_window(config, 30.0)  # longer than it can hear: 10 s of it at a time
    assert model_window.window_samples(config) == 160_000
    config.max_length = model_window.window_frames(30)
    model_window.set_window(config, 30.0)
    assert model_window.window_samples(config) == 480_000


@pytest.mark.parametrize("samples", [16_000, 16_501, 17_600, 80_001, 159_999])
def test_a_clip_fits_the_window_made_for_it(samples):
    config = ASTConfig(**TINY)
    model_window.set_window(config, samples / 16_000)
    assert model_window.window_samples(config) == samples
    config.max_length = 98  # the longest window that it hears
    model_window.set_window(config, model_window.longest_window(config) / 16_000)
    assert model_window.window_samples(config) == model_window.longest_window(config)


def test_what_is_no_ast_is_refused(tmp_path):
    from transformers import Wav2Vec2Config

    Wav2Vec2Config().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="wav2vec2"):
        models.from_pretrained(str(tmp_path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no config"):
        models.from_pretrained(str(tmp_path / "empty"))
