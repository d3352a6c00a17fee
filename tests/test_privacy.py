"""What must not go public is found wherever it stands; a library's own names are let through."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from safetensors.numpy import load_file, save_file
from trained_model import make_evaluation, make_model_dir

from genreast.data.song_table import SongRow, write_songs
from genreast.data.songs import as_unicode
from genreast.errors import UserError
from genreast.publishing import hub_dataset
from genreast.publishing.privacy import scan
from genreast.publishing.redaction import without_paths
from genreast.publishing.staging import stage_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return make_model_dir(tmp_path_factory.mktemp("models") / "first")


@pytest.fixture
def staged(trained, tmp_path) -> Path:
    """What is staged of a model and its evaluation, which a test may spoil."""
    evaluation = make_evaluation(tmp_path / "evaluation", trained)
    stage_model(trained, evaluation, tmp_path / "staged", lambda _: "# genre\n")
    return tmp_path / "staged"


@pytest.mark.parametrize(
    "text, found",
    [
        ("token: hf_abcdefghijklmnopqrstuvwxyz0123", "a Hub token"),
        ("key: sk-abcdefghijklmnopqrstuvwxyz", "an API key"),
        ("-----BEGIN RSA PRIVATE KEY-----", "a private key"),
        ("the login my-own-secret is here", "a Hub token"),
        ("dir: /home/alice/songs", "the absolute path /home/alice/songs"),
        ("dir: 'C:\\Users\\alice\\songs'", "the absolute path C:"),
        ("dir: ~/songs/rock", "the absolute path ~/songs/rock"),
        ("see file:///data/songs/1.mp3", "the absolute path file:///data/songs/1.mp3"),
        ("run by alice@studio", "the user name alice"),
        ("username: alice", "the user name alice"),
        ("in ../alice/songs", "the user name alice"),
    ],
)
def test_the_scan_refuses_what_must_not_go_public(staged, text, found):
    (staged / "README.md").write_text(text)
    with pytest.raises(UserError, match="must not go public") as refusal:
        scan(staged, user="alice", token="my-own-secret")
    assert f"README.md holds {found}" in str(refusal.value)
    assert "hf_abc" not in str(refusal.value) and "my-own-secret" not in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "see https://huggingface.co/docs/hub/models",
        "hip-hop/rap/trap at 44.1/48/96 kHz, and/or more",
        "figures/confusion_matrix.png and shared/audio...",
        "alice plays the piano",
        "| 1/2 | 3/4 |",
        "[a link](figures/a.png) <br/> </table>",
        "pop/Wham!/Fantastic/Song 1.mp3",
        "pop/Guns n'/Roses/Song 1.mp3",
    ],
)
def test_the_scan_lets_ordinary_words_pass(staged, text):
    (staged / "README.md").write_text(text)
    scan(staged, user="alice")
    assert without_paths(text) == text


def test_the_owner_of_the_repository_may_be_named(staged):
    (staged / "README.md").write_text('pipeline(model="alice/genre/x"), by user alice')
    scan(staged, user="alice", owners=["alice"])


def test_the_scan_reads_pictures_weights_and_foreign_files(staged):
    words = PngImagePlugin.PngInfo()
    words.add_text("Source", "/home/alice/plot.py", zip=True)
    Image.new("RGB", (4, 4)).save(staged / "figures" / "timeline.png", pnginfo=words)
    (staged / "training_args.bin").write_bytes(b"pickle")
    (staged / "figures" / "reliability.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"reliability\.png' is not a picture"):
        scan(staged, user="alice")
    (staged / "figures" / "reliability.png").unlink()
    (staged / "figures" / "deep").mkdir()
    (staged / "figures" / "deep" / "x.png").write_bytes(b"")
    with pytest.raises(UserError) as refusal:
        scan(staged, user="alice")
    assert "figures/timeline.png holds the absolute path /home/alice/plot.py" in str(refusal.value)
    assert "training_args.bin does not belong" in str(refusal.value)
    assert "figures/deep/x.png does not belong" in str(refusal.value)


def test_the_scan_reads_what_is_written_beside_the_weights(staged):
    weights = load_file(staged / "model.safetensors")
    place = {"format": "pt", "made_in": "/home/alice/models"}
    save_file(weights, staged / "model.safetensors", metadata=place)
    with pytest.raises(UserError, match=r"safetensors holds the absolute path /home/alice/models"):
        scan(staged, user="alice")


def test_the_scan_reads_a_key_that_comes_twice(staged):
    (staged / "metrics.json").write_text('{"dataset": "/home/alice/songs", "dataset": "songs"}')
    with pytest.raises(UserError, match=r"metrics\.json holds the absolute path /home/alice"):
        scan(staged, user="alice")


def test_the_scan_reads_the_names_of_clips_in_shards(tmp_path):
    sound = pa.array([{"bytes": b"/home/x/in/sound", "path": name} for name in ("a", "b")])
    clean = pa.table(
        {"audio": sound, "song_id": ["a", "b"], "mood": [None, "x"], "more": [{"x": 1}, {"x": 2}]}
    )
    (tmp_path / "data").mkdir()
    shard = tmp_path / "data" / "train-00000-of-00001.parquet"
    pq.write_table(clean, shard)
    scan(tmp_path, hub_dataset.STAGED, user="alice")
    sound = pa.array([{"bytes": b"", "path": name} for name in ("a", "/data/alice/b.flac")])
    pq.write_table(clean.set_column(0, "audio", sound), shard)
    with pytest.raises(UserError, match=r"parquet holds the absolute path /data/alice/b\.flac"):
        scan(tmp_path, hub_dataset.STAGED, user="alice")
    path = "/data/alice/b.flac"
    for words in (
        pa.array([path, "b"], pa.large_string()),  # as pandas and Polars write words
        pa.array([path, "b"]).dictionary_encode(),
        pa.array([["a", path], []]),
        pa.array([{"of": {"at": path}}, None]),
    ):
        pq.write_table(clean.append_column("source", words), shard)
        with pytest.raises(UserError, match=r"parquet holds the absolute path /data/alice/b\.fl"):
            scan(tmp_path, hub_dataset.STAGED, user="alice")


FOLDERS = (
    *("Jazz/Best Of /CD1", "Pop/Singles ~ Best ~/CD1", "Rock/Side A;/B1", "|/Disc/01"),
    *("Jazz/miles/So What", "Jazz/Mu\u0308sik /CD 2/b", "miles/live"),
)


def stage_songs(folder: Path, *more: SongRow, page: str = "") -> Path:
    """A staged dataset of songs in FOLDERS, grouped by folder."""
    rows = [SongRow(f"{at}/1.mp3", "Folk, World /Country/Roots", group=at) for at in FOLDERS]
    for row in rows:
        row.group = as_unicode(f"folder {row.group}")
    copy = SongRow(f"{FOLDERS[0]}/2.mp3", reason=f"the same sound as '{rows[0].path}'")
    (folder / "data").mkdir(parents=True)
    write_songs([*rows, copy, *more], folder)
    groups = pa.table({"group": [row.group for row in rows]})
    pq.write_table(groups, folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(f"such as '{rows[1].path}'\n{page}\n")
    return folder


def test_a_song_s_place_in_its_library_is_no_path_of_this_machine(tmp_path):
    page = r"| Folk, World /Country/Roots | 7 | \|/Disc/01/1.mp3 |"
    names = ("Folk /Country", "Folk /Country Music /Roots")  # the first is no part of the second
    more = [SongRow(f"Wait.. What/{name[-5:]}.mp3", name) for name in names]
    page = f"{page}\nof {names[1]}"
    scan(stage_songs(tmp_path / "songs", *more, page=page), hub_dataset.STAGED, user="miles")


@pytest.mark.parametrize(
    ("row", "page", "found"),
    [
        (SongRow("/My Songs/1.mp3"), "", "songs.csv holds /My Songs, a path out of"),
        (SongRow(" ~/songs/1.mp3"), "", "songs.csv holds the absolute path ~/songs/1.mp3"),
        (SongRow("../miles/1.mp3"), "", "songs.csv holds ../miles, a path out of"),
        (SongRow("1.mp3", group="group /data/miles"), "", "the absolute path /data/miles"),
        (SongRow("1.mp3", reason="no /home/x/Jazz/miles/So What/1.mp3"), "", "path /home/x/Jazz/"),
        (SongRow("1.mp3", reason="as Jazz/miles/So What/1.mp3/x/y"), "", "the user name miles"),
        (SongRow("home/miles/Jazz/1.mp3"), "", "songs.csv holds the user name miles"),
        (SongRow("miles/1.mp3"), "by miles@studio", "README.md holds the user name miles"),
        (SongRow("Best Of /CD1"), "in /Best Of /CD1/x", "README.md holds the absolute path /CD1"),
        (SongRow("hf_abcdefghijklmnopqrstuvwxyz0123/1.mp3"), "", "songs.csv holds a Hub token"),
    ],
)
def test_beside_the_songs_places_what_is_private_stays_caught(tmp_path, row, page, found):
    stage_songs(tmp_path / "songs", row, page=page)
    with pytest.raises(UserError, match="must not go public") as refusal:
        scan(tmp_path / "songs", hub_dataset.STAGED, user="miles")
    assert found in str(refusal.value)
