"""A result tells the versions and the commit that made it."""

import subprocess

from genreast.versions import git_commit


def test_the_commit_of_a_changed_checkout_is_told_to_be_so(tmp_path):
    def git(*words):
        names = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *names, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    code, other = tmp_path / "code.py", tmp_path / "installed.py"
    code.write_text("1\n")
    assert git_commit(code) is None
    git("init")
    git("add", code.name)
    git("commit", "-m", "first")
    git("tag", "-a", "v1", "-m", "a tag")
    commit = git("rev-parse", "HEAD")
    assert git_commit(code) == commit
    code.write_text("2\n")
    assert git_commit(code) == f"{commit}-dirty"
    other.touch()
    assert git_commit(other) is None, "what is installed in another's checkout is not of it"
