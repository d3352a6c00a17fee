"""Any file a music folder holds is read as a file, in little memory, or refused in a few words."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import soundfile
from song_library import melody

from genreast import audio
from genreast.audio import AudioError, header_span, is_long, load_audio, stream_audio


@pytest.mark.parametrize("name", ["Mozart: Requiem.wav", "-dash.wav", "100% 'live' [x].wav"])
def test_a_name_is_only_a_name(tmp_path, monkeypatch, name):
    soundfile.write(tmp_path / name, melody(1, 2.0), 16_000, "FLOAT")
    monkeypatch.chdir(tmp_path)  # where no folder stands before the colon or the dash
    expected = melody(1, 2.0).astype(np.float32)
    assert np.array_equal(load_audio(name), expected)
    assert np.array_equal(np.concatenate(list(stream_audio(name))), expected)
    assert header_span(name)[1] == pytest.approx(2.0)


def test_an_address_is_not_called():
    called = []

    class Listener(BaseHTTPRequestHandler):
        def do_GET(self):
            called.append(self.path)
            self.send_error(404)

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/song.wav"
        with pytest.raises(AudioError, match="no such file"):
            load_audio(address)
        with pytest.raises(AudioError):
            list(stream_audio(address))
        assert header_span(address) == (None, None) and not is_long(address)
    finally:
        server.shutdown()
    assert not called


def test_a_file_full_of_errors_cannot_block_its_stream(tmp_path):
    """FFmpeg writes a line for each broken frame: more than the 64 kB a pipe holds."""
    path = tmp_path / "song.mp3"
    soundfile.write(path, melody(2, 120.0), 16_000)
    damaged = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(2000, len(damaged), 20_000):
        damaged[place] = random.integers(256)
    path.write_bytes(damaged)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "null", "-"]
    assert len(subprocess.run(command, capture_output=True, check=False).stderr) > 1 << 16
    finished = threading.Event()

    def listen():
        sum(map(len, stream_audio(path)))
        finished.set()

    threading.Thread(target=listen, daemon=True).start()
    assert finished.wait(60)


def test_a_file_is_long_by_its_header_and_by_its_size_where_that_is_silent(tmp_path, monkeypatch):
    path = tmp_path / "song.wav"
    soundfile.write(path, melody(3, 4.0), 16_000)
    assert not is_long(path) and not is_long(tmp_path / "absent.wav")
    monkeypatch.setattr(audio, "SHORT_BYTES", 1000)
    monkeypatch.setattr(audio, "STREAM_SECONDS", 5)
    assert not is_long(path)
    monkeypatch.setattr(audio, "STREAM_SECONDS", 3)
    assert is_long(path)
    raw = tmp_path / "song.aac"  # ADTS frames: no header tells their number
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, raw], check=True)
    monkeypatch.setattr(audio, "STREAM_SECONDS", 5)
    monkeypatch.setattr(audio, "header_span", lambda path: (None, None))
    assert is_long(raw)
    monkeypatch.setattr(audio, "STREAM_BYTES", 2000)
    monkeypatch.setattr(audio, "header_span", lambda path: (0.0, 1.0))
    assert is_long(raw)  # whatever its header says


def test_a_broken_stretch_is_skipped(tmp_path):
    """The decoding library gives up at the first packet that it cannot decode."""
    path = tmp_path / "song.mp3"
    soundfile.write(path, melody(5, 20.0), 16_000)
    damaged = bytearray(path.read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    path.write_bytes(damaged)
    with pytest.raises(AudioError):
        audio._decode(path)
    samples = load_audio(path)
    assert 19 < len(samples) / 16_000 < 21
    assert np.array_equal(load_audio(path.read_bytes()), samples)


@pytest.mark.parametrize("coding", ["adpcm_ms", "adpcm_ima_wav"])
def test_no_frame_of_a_packet_is_left_out(tmp_path, coding):
    """The decoding library takes the first alone, a quarter of a second of such sound."""
    soundfile.write(tmp_path / "song.wav", melody(6, 8.0), 16_000)
    path = tmp_path / "coded.wav"
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "song.wav", "-c:a", coding, path]
    subprocess.run(command, check=True)
    samples = load_audio(path)
    assert len(samples) / 16_000 == pytest.approx(8.0, abs=0.1)
    assert np.array_equal(load_audio(path.read_bytes()), samples)
    assert np.corrcoef(samples[:100_000], melody(6, 8.0)[:100_000])[0, 1] > 0.9


def test_what_a_header_promises_too_much_is_decoded_as_far_as_it_goes(tmp_path):
    path = tmp_path / "song.mp3"
    soundfile.write(path, melody(7, 8.0), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 3 < len(load_audio(path)) / 16_000 < 5


def test_without_the_program_the_library_is_enough_for_sound_files(tmp_path, monkeypatch):
    path, broken = tmp_path / "song.wav", tmp_path / "broken.mp3"
    soundfile.write(path, melody(8, 2.0), 16_000, "FLOAT")
    broken.write_text("no music")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert len(load_audio(path)) == 32_000
    with pytest.raises(AudioError, match="not audio FFmpeg can open"):
        load_audio(broken)
    with pytest.raises(AudioError, match="`ffmpeg` is not installed"):
        next(stream_audio(path))
