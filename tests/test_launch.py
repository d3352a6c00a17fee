"""What ends the launcher, or the demo, ends what it has started; its mistakes are one message."""

import os
import signal
import subprocess
import sys
from textwrap import dedent

import psutil
import pytest
from conftest import ROOT

from genreast import launch

SCRIPT = """
    import os, time
    from genreast.errors import run

    def main():
        print(os.getpid(), flush=True)
        time.sleep(60)

    run(main)
"""


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGINT, "stopped\n"),
        (signal.SIGTERM, "error: a process was ended by SIGTERM; SIGKILL may be memory used up\n"),
    ],
)
def test_what_ends_the_launcher_ends_its_script(number, told, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(dedent(SCRIPT))
    alone = ["--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no"]
    launcher = subprocess.Popen(
        [sys.executable, "-m", "genreast.launch", *alone, "--dynamo_backend", "no", str(script)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A job started in the background hands down that it is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    launched = psutil.Process(int(launcher.stdout.readline()))
    if number == signal.SIGINT:
        os.killpg(launcher.pid, number)  # as a terminal does
    else:
        launcher.send_signal(number)
    assert launcher.communicate(timeout=30) == ("", told)
    assert launcher.returncode == 128 + number
    assert psutil.wait_procs([launched], timeout=10)[1] == []


def test_what_ends_the_demo_ends_its_step(tmp_path):
    demo = subprocess.Popen(
        [sys.executable, str(ROOT / "examples/demo.py"), "--output_dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    while not demo.stdout.readline().startswith("$ python examples/make_songs.py"):
        pass
    started = []
    while not started:
        started = psutil.Process(demo.pid).children(recursive=True)
    demo.terminate()
    assert demo.wait(timeout=30) == 128 + signal.SIGTERM
    assert psutil.wait_procs(started, timeout=30)[1] == []


def test_a_mistake_under_the_launcher_is_one_message(tmp_path, monkeypatch, capfd, caplog):
    script = tmp_path / "script.py"
    script.write_text("import sys; print('error: a mistake', file=sys.stderr); sys.exit(2)")
    monkeypatch.setattr(sys, "argv", ["launch", "--num_processes", "1", str(script)])
    with pytest.raises(SystemExit) as stop:
        launch.main()
    assert stop.value.code == 2 and capfd.readouterr().err == "error: a mistake\n"
    assert not caplog.records


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "config.yaml` does not exist"),
        ("compute_environment: LOCAL_MACHINE\n", "`distributed_type` must be specified"),
        ("compute_environment: [", "while parsing"),
        (
            "compute_environment: LOCAL_MACHINE\ndistributed_type: DEEPSPEED\n"
            "deepspeed_config: {zero_stage: 2}\nnum_processes: 2\n",
            "DeepSpeed is not installed",
        ),
    ],
)
def test_what_accelerate_cannot_launch_is_one_message(config, words, tmp_path, monkeypatch, capfd):
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    argv = ["launch", "--config_file", str(tmp_path / "config.yaml"), "train_hf.py"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stop:
        launch.main()
    told = capfd.readouterr().err
    assert stop.value.code == 2 and told.startswith("error: accelerate cannot launch this: ")
    assert words in told and told.count("\n") == 1
