"""The runner of the pages tells what does not work."""

import pytest

import markdown
import page_run
from reference import SOURCE_DIR

PAGE = """\
# A page

    x=1; cd deploy            # state stays from command to command
    [ "$PWD" = "$OLDPWD"/deploy ] && \\
      [ $x = 1 ]

<!-- not run: it fails -->

    false

<!-- needs: no-such-program -->

    no-such-program

```text
what a program prints
```

```console
$ echo one 2 three
one ... three
```
"""


def run(text, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(text)
    monkeypatch.setattr(page_run, "SOURCE_DIR", tmp_path)
    (tmp_path / "deploy").symlink_to(SOURCE_DIR / "deploy")
    folder = tmp_path / "folder"
    folder.mkdir()
    page_run.run(page, folder)


def test_commands_share_a_shell_and_marked_ones_are_left_out(tmp_path, monkeypatch):
    run(PAGE, tmp_path, monkeypatch)


@pytest.mark.parametrize(("before", "after", "told"), [
    ("[ $x = 1 ]", "[ $x = 2 ]", "[ $x = 2 ]"),
    ("<!-- not run: it fails -->", "Text.", "page.md:9: false"),
    ("<!-- needs: no-such-program -->", "Text.", "no-such-program: command not found"),
    ("one ... three", "one ... four", "The page shows:\none ... four"),
])
def test_what_fails_or_prints_something_else_is_told(tmp_path, monkeypatch, before, after, told):
    with pytest.raises(AssertionError) as error:
        run(PAGE.replace(before, after), tmp_path, monkeypatch)
    assert told in str(error.value)


def test_an_experiment_whose_difference_has_no_traffic_fails(tmp_path, monkeypatch):
    text = (SOURCE_DIR / "docs/guide/experiments.md").read_text()
    without = "".join(line for line in text.splitlines(keepends=True)
                      if "olmoectl bench" not in line and "olmoectl generate" not in line)
    assert without != text
    with pytest.raises(AssertionError, match="olmoectl experts diff control bh"):
        run(without, tmp_path, monkeypatch)


def test_what_a_block_is_and_what_it_says():
    kinds = [(block.kind, block.not_run, block.needs) for block in markdown.blocks(PAGE)]
    assert kinds == [("shell", "", ""), ("shell", "it fails", ""),
                     ("shell", "", "no-such-program"), ("text", "", ""), ("console", "", "")]
