"""`zsindex ci` and `library.ci`: a committed file of bounds, its report, and its exit codes; with the fake model."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner, Result
from zsindex.cli import cli

from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import new_library
from tests.scenes import photo
from zsindex.errors import BadCiFile
from zsindex.lab import CiBound, CiCheck, CiFlip, CiReport, Flips
from zsindex.lab.ci import proportion
from zsindex.lab.ci_file import parse
from zsindex.lab.ci_report import percent
from zsindex.lab.findings import LintReport
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import ModelSpec

ROOT = Path(__file__).parents[1]
FOUR = ["red", "green", "blue", "yellow"]
Run = Callable[..., Result]
FILE = """
photos = "photos"
truth = "folders"

[[label-set]]
labels = "labels/colours.txt"
{more}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `zsindex ci` in a folder with two photos each of four colours, in folders of their names."""

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return FakeEncoder(name=spec.name, decode=spec.decode)

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    monkeypatch.chdir(tmp_path)
    new_library(tmp_path / ".zsindex-ci")  # quicker than by the migrations
    for colour in FOUR:
        for mark in (1, 2):
            photo(tmp_path / "photos" / colour / f"{mark}.png", COLOURS[colour], mark=mark)
    labels(*FOUR)

    def invoke(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, ["ci", *arguments], env={"ZSINDEX_LIBRARY": ""})
        assert result.exit_code == code, result.output
        return result

    return invoke


def labels(*names: str) -> None:
    Path("labels").mkdir(exist_ok=True)
    Path("labels/colours.txt").write_text("\n".join(names), encoding="utf-8")


def written(name: str, text: str) -> None:
    Path(name).write_text(text, encoding="utf-8")


def asks(more: str, head: str = FILE) -> None:
    Path("zsindex-ci.toml").write_text(head.format(more=more), encoding="utf-8")


def document(run: Run, *arguments: str, code: int = 0) -> dict[str, object]:
    found = json.loads(run("--format", "json", *arguments, code=code).stdout)
    assert isinstance(found, dict)
    return found


def only_check(found: dict[str, object]) -> dict[str, object]:
    checks = found["checks"]
    assert isinstance(checks, list)
    assert len(checks) == 1
    check = checks[0]
    assert isinstance(check, dict)
    return check


# --- accuracy ---------------------------------------------------------------------------------------------------------


def test_bounds_that_are_kept_and_broken(run: Run) -> None:
    asks("[label-set.bounds]\nmin-top1 = 1.0\nmin-top1-low = '67%'\nmin-photos = 8\nmax-lint-warnings = 0")
    result = run()
    assert "# zsindex ci: passed" in result.stdout
    assert "4 bounds, 0 broken" in result.stderr
    # Wilson's interval of 8 of 8 begins at 8 / (8 + 1.96²) = 67.56 %.
    assert "100.0 % (67.6 % … 100.0 %) of 8 photos" in result.stdout

    asks("[label-set.bounds]\nmin-top1-low = '68%'\nmin-photos = 9\nmin-top1 = 1.0")
    result = run(code=3)
    assert "# zsindex ci: failed: 2 of 3 bounds broken" in result.stdout
    assert "colours: min-photos: 8 compared with the truth; asked for at least 9" in result.stderr
    assert "colours: min-top1-low" in result.stderr
    assert "colours: min-top1:" not in result.stderr


def test_recall_of_each_label_and_of_one(run: Run) -> None:
    labels("red", "green", "blue", "so yellow so red")
    asks('[label-set.bounds]\nmin-recall = { "so yellow so red" = 0.5 }\n[label-set.map]\nyellow = "so yellow so red"')
    check = only_check(document(run))
    assert check["compared"] == 8
    asks("[label-set.bounds]\nmin-recall = 0.5")
    check = only_check(document(run))
    bounds = check["bounds"]
    assert isinstance(bounds, list)
    assert sorted(bound["key"] for bound in bounds) == ["min-recall: blue", "min-recall: green", "min-recall: red"]
    assert "names in the truth that are no labels: yellow (2); map gives them one" in str(check["notes"])
    asks('[label-set.bounds]\nmin-recall = { "so yellow so red" = 0.0 }')
    bounds = only_check(document(run, code=3))["bounds"]
    assert isinstance(bounds, list)
    assert bounds[0]["said"] == "the truth has no photo that shows it"


def test_a_truth_of_a_table_and_templates_of_a_file(run: Run, tmp_path: Path) -> None:
    Path("truth.csv").write_text("path,label\nphotos/red/1.png,red\nphotos/blue/1.png,green\n", encoding="utf-8")
    Path("labels/templates.txt").write_text("a {} thing\n", encoding="utf-8")
    asks('templates = "@labels/templates.txt"\n[label-set.bounds]\nmax-ece = 1', FILE.replace("folders", "truth.csv"))
    check = only_check(document(run))
    top1 = check["top1"]
    assert isinstance(top1, dict)
    assert (check["compared"], top1["value"]) == (2, 0.5)
    assert check["mistakes"] == [{"truth": "green", "answer": "blue", "photos": 1}]
    assert "6 photos have no truth: photos/blue/2.png" in str(check["notes"])


def test_sets_of_labels_are_calibrated_by_the_other_half(run: Run) -> None:
    for colour in FOUR:
        for mark in range(3, 8):
            photo(Path("photos") / colour / f"{mark}.png", COLOURS[colour], mark=mark)
    labels(*FOUR[:3], "black")
    asks("coverage = 0.5\n[label-set.bounds]\nmin-coverage = 0.9\nmax-set-size = 1.5\n")
    sets = only_check(document(run))["sets"]
    assert isinstance(sets, dict)
    # What yellow photos show has no label, so that they are not measured.
    assert (sets["photos"], sets["asked"], sets["coverage"]["value"], sets["size"]) == (21, 0.5, 1.0, 1.0)
    asks("coverage = 0.5\n[label-set.bounds]\nmax-set-size = 0.5\n")
    assert "colours: max-set-size: 1.00 labels on average; asked for at most 0.5" in run(code=3).stderr
    asks("coverage = 0.99")
    assert "line 7, label-set.coverage: " in run(code=2).stderr


def test_a_cached_library_gives_the_report_of_a_fresh_one(run: Run) -> None:
    """Also after photos came, changed and went."""
    asks("[label-set.bounds]\nmin-top1 = 0.9\nmin-photos = 8")
    run()
    Path("photos/red/1.png").unlink()
    Path("photos/green/1.png").rename("photos/green/3.png")
    photo(Path("photos/blue/9.png"), COLOURS["blue"], mark=7)
    Path("photos/blue/bad.png").write_bytes(b"no picture")
    cached = document(run)
    assert cached == document(run)  # and what was skipped before is told again
    assert [skipped["path"] for skipped in cached["skipped"]] == ["photos/blue/bad.png"]  # type: ignore[attr-defined]
    shutil.rmtree(".zsindex-ci")
    fresh = document(run)
    for found in (cached, fresh):
        only_check(found).pop("run")  # which counts what was stored
    assert cached == fresh
    assert cached["photos"] == 8


def test_photos_that_cannot_be_read_are_bounded(run: Run) -> None:
    Path("photos/bad.png").write_bytes(b"no picture")
    asks("", "max-skipped = 0\n" + FILE)
    result = run(code=3)
    assert "photos: max-skipped: photos/bad.png: " in result.stderr
    assert "1 photo that cannot be read" in result.stdout


def test_the_library_is_passed_over_by_git_and_by_syncs(run: Run) -> None:
    asks("", FILE.replace('"photos"', '"."'))
    Path(".zsindex-ci").rename("other")
    assert document(run)["photos"] == 8
    assert Path(".zsindex-ci/.gitignore").read_text(encoding="utf-8") == "*\n"


# --- flips ------------------------------------------------------------------------------------------------------------


def test_answers_are_accepted_and_then_kept(run: Run) -> None:
    asks('[label-set.baseline]\nanswers = "kept/colours.csv"\n[label-set.bounds]\nmax-flips = 0\nmax-worse = 0')
    assert "write it with: zsindex ci --accept" in run(code=2).stderr
    assert "wrote kept/colours.csv" in run("--accept").stderr
    lines = Path("kept/colours.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "path,label,score"
    assert lines[1].startswith("../photos/blue/1.png,blue,")
    assert len(lines) == 9
    assert "0 flips among 8 photos against kept/colours.csv" in run().stdout

    labels("red", "green", "black", "yellow")  # blue photos get another answer
    flips = only_check(document(run, code=3))["flips"]
    assert isinstance(flips, dict)
    assert (flips["photos"], flips["flipped"], flips["share"]) == (8, 2, 0.25)
    assert [flip["path"] for flip in flips["flips"]] == ["photos/blue/1.png", "photos/blue/2.png"]
    result = run("--accept")
    assert "2 of 8 photos (25.0 %); accepted" in result.stdout
    assert "0 flips" in run().stdout


def test_flips_that_are_for_the_worse_come_first(run: Run) -> None:
    """Green and yellow photos exchange their answers, by what the prompts say; of two the truth is known."""
    Path("labels/before.json").write_text(
        json.dumps({"red": "red", "green": "green", "blue": "yellow", "yellow": "blue"}), encoding="utf-8"
    )
    Path("labels/after.json").write_text(
        json.dumps({"red": "red", "green": "yellow", "blue": "blue", "yellow": "green"}), encoding="utf-8"
    )
    Path("truth.csv").write_text(
        "path,label\nphotos/green/1.png,green\nphotos/blue/1.png,blue\nphotos/yellow/1.png,red\n", encoding="utf-8"
    )
    more = '[label-set.baseline]\nlabels = "labels/before.json"\n[label-set.bounds]\nmax-worse = 0.1\n'
    asks(more, FILE.replace("folders", "truth.csv").replace("colours.txt", "after.json"))
    result = run("--format", "json", code=3)
    flips = only_check(json.loads(result.stdout))["flips"]
    assert isinstance(flips, dict)
    found = [(flip["path"], flip["before"], flip["after"], flip["verdict"]) for flip in flips["flips"]]
    assert found[:2] == [
        ("photos/green/1.png", "green", "yellow", "worse"),
        ("photos/yellow/1.png", "blue", "green", "neither"),
    ]
    assert {path: verdict for path, _, _, verdict in found[2:5]} == {
        f"photos/{colour}/2.png": "" for colour in ("blue", "green", "yellow")
    }
    assert [flip["moved"] for flip in flips["flips"][2:5]] == sorted(
        (f["moved"] for f in flips["flips"][2:5]), reverse=True
    )
    assert found[5:] == [("photos/blue/1.png", "yellow", "blue", "better")]
    assert "max-worse: 1 of 8 photos (12.5 %); asked for at most 10.0 %" in result.stderr
    title = "6 flips among 8 photos against labels/before.json: 1 worse, 1 better, 1 right neither before nor after"
    assert title in run(code=3).stdout


def test_a_renamed_label_is_no_flip(run: Run) -> None:
    Path("labels/before.txt").write_text("rot red\ngreen\nblue\nyellow", encoding="utf-8")
    more = '[label-set.baseline]\nlabels = "labels/before.txt"\n'
    asks(more + "[label-set.bounds]\nmax-flips = 0")
    assert "2 of 8 photos (25.0 %)" in run(code=3).stdout
    asks(more + 'rename = { "rot red" = "red" }\n[label-set.bounds]\nmax-flips = 0')
    assert "0 flips among 8 photos against labels/before.txt" in run().stdout


def test_a_saved_version_is_a_baseline(run: Run) -> None:
    with Library.open("saved") as library:
        library.labels.save("colours", [*FOUR[:2], "black", "yellow"])
        library.labels.save("colours", FOUR)
    asks('[label-set.baseline]\nsaved = "colours@1"\n[label-set.bounds]\nmax-flips = 0.25')
    assert "2 flips among 8 photos against colours@1" in run("--library", "saved").stdout
    assert "label-set.baseline.saved: " in run(code=2).stderr


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_revision_is_a_baseline_with_the_file_as_it_was(run: Run) -> None:
    def git(*arguments: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)

    git("init", "-b", "main")
    labels("red", "green", "black", "yellow")
    asks("[label-set.bounds]\nmin-top1 = 0")
    git("add", "zsindex-ci.toml", "labels")
    git("commit", "-m", "one")
    labels(*FOUR)
    more = '[label-set.baseline]\ngit = "main"\n[label-set.bounds]\nmax-flips = "20%"'
    asks(more)
    result = run(code=3)
    assert "2 flips among 8 photos against main" in result.stdout
    # The templates that the file had are part of what was answered.
    asks('templates = "black {}"\n' + more)
    git("commit", "-am", "two")
    asks(more)
    assert "against HEAD" in run("--git", "HEAD").stdout

    asks(more.replace("main", "no-such-branch"))
    assert "git does not know no-such-branch. A shallow clone" in run(code=2).stderr
    asks(more.replace("main", "--output=x"))
    assert "'--output=x' is no revision" in run(code=2).stderr
    assert not Path("x").exists()
    # A label set that is new has nothing to be compared with.
    asks('name = "new"\n' + more)
    result = run("--junit", "r.xml")
    assert "not compared" in result.stdout
    assert ElementTree.parse("r.xml").getroot().attrib["skipped"] == "1"


def test_several_models_and_one_as_the_baseline(run: Run) -> None:
    asks('models = ["fake", "other"]\n[label-set.bounds]\nmin-top1 = 1')
    checks = document(run)["checks"]
    assert isinstance(checks, list)
    assert [(check["name"], check["model"]) for check in checks] == [
        ("colours, fake", "fake"),
        ("colours, other", "other"),
    ]
    asks('[label-set.baseline]\nlabels = "labels/colours.txt"\nmodel = "other"\n[label-set.bounds]\nmax-flips = 0')
    assert "0 flips among 8 photos" in run().stdout


# --- what is written --------------------------------------------------------------------------------------------------


def test_reports_hold_whatever_names_hold() -> None:
    flip = CiFlip("a|b`c\x07<x>.png", "a|b", "*c* & <d>", 0.5, "worse")
    bound = CiBound("max-flips", 0.0, 1.0, False, "1 of 1 photos")
    lint = LintReport("", "m", 2, 1, (), 0.0)
    check = CiCheck(
        "set|1", "m", "k", 2, 1, 0, None, None, None, None, (), (), "old", Flips((flip,), 1, 0, 0), lint, (bound,), ()
    )
    report = CiReport("f.toml", 1, (), (), (check,))
    row = next(line for line in report.to_markdown().splitlines() if "worse |" in line)
    cells = re.split(r"(?<!\\)\|", row)[1:-1]
    assert [cell.strip() for cell in cells] == [
        "``a\\|b`c\ufffd<x>.png``",
        "a\\|b",
        "\\*c\\* &amp; \\<d\\>",
        "0.500",
        "worse",
    ]
    root = ElementTree.fromstring(report.to_junit())
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None
    assert failure.text is not None
    assert "a|b`c\ufffd<x>.png: a|b → *c* & <d>  (0.500)  worse" in failure.text
    assert not report.passed
    assert [name for name, _ in report.broken] == ["set|1"]


def test_files_are_written_and_stdout_stays_the_report(run: Run) -> None:
    asks("[label-set.bounds]\nmin-top1 = 1\nmin-recall = 0.9")
    result = run("--junit", "r.xml", "--markdown", "r.md", "-q")
    assert result.stderr == ""
    assert result.stdout == Path("r.md").read_text(encoding="utf-8")
    root = ElementTree.parse("r.xml").getroot()
    assert root.attrib == {"name": "zsindex ci", "tests": "5", "failures": "0", "errors": "0", "skipped": "0"}
    cases = [case.attrib["name"] for case in root.iter("testcase")]
    assert cases == ["min-top1", *(f"min-recall: {colour}" for colour in sorted(FOUR))]


def test_wilsons_interval() -> None:
    """Against its definition: at its ends the score test of the share has z = 1.96."""
    for right, n in ((3, 10), (50, 100), (999, 1000)):
        estimate = proportion(right, n)
        for end in (estimate.low, estimate.high):
            assert abs(estimate.value - end) / (end * (1 - end) / n) ** 0.5 == pytest.approx(1.959964, abs=1e-5)
    assert (proportion(0, 5).low, proportion(5, 5).high) == (0.0, 1.0)
    assert proportion(0, 0).value != proportion(0, 0).value
    assert percent(0.1234) == "12.3 %"


# --- bad files --------------------------------------------------------------------------------------------------------

SET = '[[label-set]]\nlabels = "a.txt"\n'


@pytest.mark.parametrize(
    ("text", "key", "line", "why"),
    [
        ("a = 1\nphotos = ?\n", "", 2, "it is no TOML"),
        ("photos = 3\n" + SET, "photos", 1, "it must be text or a list of texts, not 3"),
        (SET, "photos", None, "name the folders"),
        ('photos = "p"\n', "label-set", None, "there is no label set to check"),
        ('photos = "p"\nphoto = "q"\n' + SET, "photo", 2, "it is unknown; did you mean photos?"),
        ('photos = "p"\n[[label-set]]\nname = "x"\n', "label-set.labels", 2, "name a label file"),
        ('photos = "p"\n' + SET + 'saved = "x"\n', "label-set.labels", 3, "one of both"),
        (
            'photos = "p"\n' + SET + "[label-set.bounds]\nmin-top = 0.5\n",
            "label-set.bounds.min-top",
            5,
            "did you mean min-top",
        ),
        (
            'photos = "p"\ntruth = "folders"\n' + SET + "[label-set.bounds]\nmin-top1 = 80\n",
            "label-set.bounds.min-top1",
            6,
            "between 0 and 1",
        ),
        (
            'photos = "p"\ntruth = "folders"\n' + SET + "[label-set.bounds]\nmin-top1 = true\n",
            "label-set.bounds.min-top1",
            6,
            "it must be a share",
        ),
        (
            'photos = "p"\ntruth = "folders"\n' + SET + "[label-set.bounds.min-recall]\nred = 'x%'\n",
            "label-set.bounds.min-recall.red",
            6,
            "it must be a share",
        ),
        ('photos = "p"\n' + SET + "[label-set.bounds]\nmin-top1 = 0.5\n", "label-set.bounds.min-top1", 5, "set truth"),
        ('photos = "p"\n' + SET + "bounds = { max-flips = 0.5 }\n", "label-set.bounds.max-flips", 4, "set baseline"),
        ('photos = "p"\n' + SET + "coverage = 0.9\n", "label-set.coverage", 4, "set truth"),
        (
            'photos = "p"\ntruth = "folders"\n' + SET + "bounds = { min-coverage = 0.9 }\n",
            "label-set.bounds.min-coverage",
            5,
            "set coverage",
        ),
        ('photos = "p"\n[bounds]\nmax-flips = 0.5\n' + SET, "bounds.max-flips", 3, "none has baseline"),
        ('photos = "p"\n' + SET + "[label-set.bounds]\nmax-lint-warnings = -1\n", None, 5, "0 or more"),
        ('photos = "p"\n' + SET + "temperature = 0\n", "label-set.temperature", 4, "temperature"),
        ('photos = "p"\n' + SET + 'activation = "relu"\n', "label-set.activation", 4, "relu"),
        ('photos = "p"\n' + SET + SET, "label-set.name", 4, "two label sets are called 'a'"),
        (
            'photos = "p"\n' + SET + '[label-set.baseline]\ngit = "a"\nsaved = "b"\n',
            "label-set.baseline",
            4,
            "name one",
        ),
        (
            'photos = "p"\n' + SET + '[label-set.baseline]\ngit = "a"\nmodel = "b"\n',
            "label-set.baseline.model",
            6,
            "not for git",
        ),
        ('photos = "p"\n[baseline]\nanswers = "a"\n' + SET, "baseline", 2, "it can only be git"),
        ('photos = "p"\nmodels = ["a", "b"]\n' + SET + 'baseline = { answers = "a" }\n', None, 5, "of one model"),
        ('photos = "p"\n' + SET + "name = ''\n", "label-set.name", 4, "it is empty"),
    ],
)
def test_what_is_wrong_is_told_with_key_and_line(text: str, key: str | None, line: int | None, why: str) -> None:
    with pytest.raises(BadCiFile) as caught:
        parse(text, source="ci.toml")
    error = caught.value
    assert why in error.why
    assert error.line == line
    assert key is None or error.key == key
    assert str(error).startswith("ci.toml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda: Path("zsindex-ci.toml").unlink(), "zsindex-ci.toml: there is no such file; docs/ci.md"),
        (lambda: Path("zsindex-ci.toml").write_bytes(b"\xff"), "line 1 is not UTF-8 text"),
        (lambda: asks("", FILE.replace('"photos"', '"pictures"')), "line 2, photos: pictures is neither a file"),
        (lambda: asks("", FILE.replace('"folders"', '"t.csv"')), "truth: t.csv is neither a file nor a folder"),
        (lambda: Path("labels/colours.txt").unlink(), "line 6, label-set.labels: there is no labels/colours.txt"),
        (lambda: labels("a", "a"), "line 6, label-set.labels: "),
        (lambda: asks('templates = "no place"'), "line 7, label-set.templates: "),
        (lambda: asks("[label-set.bounds]\nmin-recall = { pink = 1 }"), "'pink' is not a label of colours; it has red"),
        (
            lambda: (
                Path("t.csv").write_text("a,b\n", encoding="utf-8"),
                asks("", FILE.replace('"folders"', '"t.csv"')),
            ),
            "its first line must name the columns path and label",
        ),
        (
            lambda: (
                Path("a.csv").write_text("path,label\nx,\n", encoding="utf-8"),
                asks('baseline = { answers = "a.csv" }'),
            ),
            "line 7, label-set.baseline.answers: a.csv: line 2: there is no label",
        ),
        (lambda: asks('baseline = { labels = "old.txt" }'), "label-set.baseline.labels: there is no old.txt"),
    ],
)
def test_files_that_cannot_be_used_are_usage_errors(run: Run, change: Callable[[], object], said: str) -> None:
    asks("")
    change()
    assert said in " ".join(run(code=2).stderr.split())


# --- the page ---------------------------------------------------------------------------------------------------------


def blocks(page: str) -> dict[str, str]:
    return dict(re.findall(r"<!-- tested: ([^>]+) -->\n```\w+\n(.*?)```", page, re.DOTALL))


def test_the_page_shows_a_file_and_checks_that_run(run: Run) -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    found = blocks(page)
    assert set(found) == {"zsindex-ci.toml", "github", "gitlab"}
    Path("zsindex-ci.toml").write_text(found["zsindex-ci.toml"], encoding="utf-8")
    rows = [f"photos/{colour}/{mark}.png,{colour}" for colour in FOUR for mark in (1, 2)]
    Path("truth.csv").write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    assert run("--accept", code=0).stdout.startswith("# zsindex ci: passed")

    github, gitlab = (yaml.safe_load(found[name]) for name in ("github", "gitlab"))
    steps = github["jobs"]["labels"]["steps"]
    lines = [step["run"] for step in steps if "run" in step] + gitlab["labels"]["script"]
    commands = [shlex.split(line.partition(">>")[0])[1:] for line in lines if line.startswith("zsindex ")]
    assert [command[0] for command in commands] == ["ci", "ci"]
    for command in commands:
        Path("labels.xml").unlink(missing_ok=True)
        run(*command[1:])
        assert ElementTree.parse("labels.xml").getroot().attrib["failures"] == "0"
    # What the page says is kept and shown is where the program writes it.
    assert Path("labels.md").read_text(encoding="utf-8").startswith("# zsindex ci: passed")
    kept = [step["with"]["path"] for step in steps if step.get("uses", "").startswith(("actions/cache", "actions/up"))]
    assert kept == [".zsindex-ci", gitlab["labels"]["artifacts"]["reports"]["junit"]]
    assert gitlab["labels"]["cache"]["paths"] == [".zsindex-ci"]
    assert Path(".zsindex-ci").is_dir()


def test_the_page_names_every_bound_and_key() -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    with pytest.raises(BadCiFile) as of_bounds:
        parse('photos = "p"\n' + SET + "[label-set.bounds]\nzzzzzz = 1\n", source="")
    with pytest.raises(BadCiFile) as of_sets:
        parse('photos = "p"\n' + SET + "zzzzzz = 1\n", source="")
    known = [error.value.why.partition("known here are ")[2].split(", ") for error in (of_bounds, of_sets)]
    assert len(known[0]) == 11
    assert [name for names in known for name in names if f"`{name}`" not in page] == []
