"""The page: what it says, what it may do (nothing), and whether a browser can read it."""

import errno
import io
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from retain.errors import StoreError
from retain.measure.bias import icat
from retain.report import report as writer
from retain.report.analysis import analyse, choose_arms
from retain.report.facts import Cost, Question
from retain.report.page import render
from retain.report.report import write_report
from retain.report.results import Arm, LostArm
from retain.report.scorebook import ScoreBook
from retain.report.scores import Checkpoint, ItemKey, TaskKey
from retain.report.tables import at_fewest_shots, measure_rows
from retain.report.terminal import show_analysis
from tests.report.reading import Reader
from tests.report.synthetic import ARMS, RECIPE, TASKS, make_results, set_task

GOLDEN = Path(__file__).parent.parent / "golden" / "report.txt"

HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    '"><svg onload=alert(1)>',
    '<a href="javascript:alert(1)">x</a>',
    '</pre></p></style></title><iframe src="https://example.org"></iframe>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202eevil\u2066 \u200f\u061c\ufeff",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x00\x08\x9b31m\x7f",
    "\ud800 lone surrogate",
    "]]> --> <!-- &lt;script&gt; &#0;",
)
LIVE_MARKS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def page_of(results):
    return render(analyse(results, choose_arms(results)))


@pytest.fixture(scope="module")
def page(results):
    return page_of(results)


def hostile_moving(moving, text):
    """The same choice with one text for every word in it."""
    parts, scores, outside = (
        tuple((text, values) for _, values in rows)
        for rows in (moving.parts, moving.scores, moving.outside)
    )
    words = {"selected": text, "scored_by": text}
    return replace(moving, parts=parts, scores=scores, outside=outside, **words)


def everything_hostile(results, text):
    """The same run with one text in every field that holds words."""
    arms = tuple(replace(arm, name=arm.name + text, description=text) for arm in results.arms)

    def moved(where: Checkpoint) -> Checkpoint:
        return where._replace(arm=where.arm + text)

    return replace(
        results,
        name=text,
        run_folder=text,
        recipe=RECIPE | {"fail_if": [], "note": text, text: [text, {"x": text}]},
        arms=arms,
        variants=tuple(replace(one, model=text) for one in results.variants),
        scores=tuple(replace(row, arm=row.arm + text) for row in results.scores),
        items={
            key._replace(checkpoint=moved(key.checkpoint)): one
            for key, one in results.items.items()
        },
        models={moved(where): text for where in results.models},
        curves=tuple(replace(one, checkpoint=moved(one.checkpoint)) for one in results.curves),
        training=tuple(
            replace(
                one,
                checkpoint=moved(one.checkpoint),
                device=text,
                precision=one.phase + text,
                moving=one.moving and hostile_moving(one.moving, text),
            )
            for one in results.training
        ),
        samples=tuple(
            replace(
                one,
                checkpoint=moved(one.checkpoint),
                prompt=text + one.prompt,
                reference=text,
                response=text + one.response,
            )
            for one in results.samples
        ),
        data=tuple(
            replace(one, role=text, source=text, licence=text, languages=text, notes=(text,))
            for one in results.data
        ),
        questions={
            key: dict.fromkeys(one, Question(text, text)) for key, one in results.questions.items()
        },
        answers={
            key._replace(checkpoint=moved(key.checkpoint)): {
                item: answer._replace(text=text) for item, answer in one.items()
            }
            for key, one in results.answers.items()
        },
        given={
            key._replace(checkpoint=moved(key.checkpoint)): replace(
                one, names=tuple(f"{text}{n}" for n in range(len(one.names)))
            )
            for key, one in results.given.items()
        },
        corpora=tuple(
            replace(
                one,
                name=text,
                step=text,
                removed=((text, text, 3),),
                diversity=((text, 0.5),),
                samples=(text,),
                removed_samples=((text, text),),
            )
            for one in results.corpora
        ),
        lineage=tuple(
            replace(one, arm=text, phase=text, model=text, start=text, data=(text,))
            for one in results.lineage
        ),
        costs=(Cost(text, 3, 1.5),),
        environment={text: text},
        command=text,
        notes=(text,),
        lost=(LostArm(arm=Arm(name=text, description=text), reason=text),),
    )


def test_the_text_of_the_page_is_the_golden_one(page):
    """Reviewed by eye; to renew it, delete the file, run this test, and read the difference."""
    text = "\n".join(Reader(page).text) + "\n"
    if not GOLDEN.exists():
        GOLDEN.write_text(text, encoding="utf-8")
        pytest.fail(f"{GOLDEN} was missing and has been written: read it, then run again")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_inert(page):
    reader = Reader(page)
    assert reader.faults == []
    assert reader.live == []
    assert "http" not in re.sub(r"<meta[^>]*>", "", page)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_in_every_field_stays_text(results, text):
    page = page_of(everything_hostile(results, text))
    reader = Reader(page)
    assert reader.faults == []
    assert reader.live == []
    assert not LIVE_MARKS.search(page)
    page.encode("utf-8")


def test_hostile_text_is_shown_not_dropped(results):
    page = page_of(everything_hostile(results, HOSTILE[0]))
    assert any("<script>alert(1)</script>" in said for said in Reader(page).text)


def test_the_policy_allows_our_style_sheet_and_script_and_no_other(page):
    css = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert css is not None
    assert script is not None
    assert policy is not None
    digest, of_script = (
        b64encode(sha256(found[1].encode()).digest()).decode() for found in (css, script)
    )
    assert (
        policy[1]
        .replace("&#39;", "'")
        .startswith(
            f"default-src 'none'; style-src 'sha256-{digest}'; script-src 'sha256-{of_script}'; "
            "img-src data:"
        )
    )
    assert "unsafe" not in policy[1]
    assert not re.search(r'<[^>]* style="', page)


def test_tables_and_pictures_have_names_for_screen_readers(page):
    reader = Reader(page)
    identities = [attributes["id"] for _, attributes in reader.nodes if "id" in attributes]
    assert len(identities) == len(set(identities))
    for tag, attributes in reader.nodes:
        if tag == "th":
            assert attributes.get("scope") in ("col", "row", "rowgroup")
        if tag == "svg":
            named = attributes.get("aria-labelledby", "").split()
            assert attributes.get("aria-hidden") == "true" or (
                named and set(named) <= set(identities)
            )
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes["aria-label"]
    headings = [int(tag[1]) for tag, _ in reader.nodes if tag in ("h1", "h2", "h3")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert ("html", {"lang": "en"}) in reader.nodes


def test_one_run_is_said_to_be_one_run(page):
    assert "One training run per arm; training noise unknown" in page
    assert "of these runs, not of methods" in page


def test_a_missing_score_is_a_dash_never_a_zero(results):
    joint = Arm(name="joint", methods=("joint",), description="all phases at once")
    made = make_results(arms=(*ARMS[:3], joint))
    kept = tuple(
        row
        for row in made.scores
        if row.arm != "joint" or (row.phase_index == 2 and row.task != "embedded_piqa")
    )
    page = page_of(replace(made, scores=kept))
    assert "<b>\N{EN DASH}</b>" in page
    assert "nan" not in " ".join(Reader(page).text).split()
    assert "reference, never chosen" in page


def test_failed_gates_stand_first(results):
    gate = {"measure": "change_from_base", "task": "embedded_piqa", "below": -0.1}
    text = Reader(page_of(replace(results, recipe=RECIPE | {"fail_if": [gate]}))).text
    assert text.index("Gate failed.") < text.index("Ship “low_rate”")


def test_an_arm_that_failed_stands_on_the_first_screen_and_in_the_tables(results):
    lost = LostArm(arm=Arm(name="tree", description="tree_generation"), reason="write tree: full")
    failed = replace(results, lost=(lost,))
    text = Reader(page_of(failed)).text
    assert text.index("Arm tree failed.") < text.index("Ship “low_rate”")
    assert " ".join(text).count("write tree: full") == 3
    console = Console(record=True, width=100, file=io.StringIO())
    show_analysis(analyse(failed, choose_arms(failed)), console)
    assert "Arm tree failed. write tree: full" in console.export_text()
    shared = replace(failed, lost=(replace(lost, reason=""),))
    assert "A step of it failed." in " ".join(Reader(page_of(shared)).text)


def test_where_two_arms_agree_on_every_item_no_interval_is_shown():
    same = set_task("embedded_piqa", rows=(0.68, 0.68, (0.68, 0.68, 0.68, 0.68)))
    made = make_results(tasks=same)
    items = dict(made.items)
    for where in made.items:  # every checkpoint answers as the base model does
        base = where.checkpoint._replace(arm="none", phase_index=0)
        if where.task.task == "embedded_piqa":
            items[where] = made.items[where._replace(checkpoint=base)]
    page = page_of(replace(made, items=items, scores=_as_base(made)))
    compared = page.split("<h2>Compared with the control</h2>")[1].split("</section>")[0]
    assert compared.count("no difference on 200 items") == 3
    assert "[0.000, 0.000]" not in compared
    assert page.count("no difference on 200 items") > 3  # from the base, too
    assert "none of 200 items" in page  # flips


def _as_base(made):
    base = {(row.task, row.role): row for row in made.scores if row.phase_index == 0}
    return tuple(
        replace(row, value=base[row.task, row.role].value) if row.task == "embedded_piqa" else row
        for row in made.scores
    )


def test_shares_of_stereotypes_have_their_table_and_no_colour():
    tasks = dict(TASKS)
    made = make_results(tasks=tasks)
    pairs = "embedded_crows_pairs"
    scores, items = list(made.scores), dict(made.items)
    for row in made.scores:
        if row.task == "embedded_piqa":
            for metric in ("stereotype", "stereotype_race_color"):
                scores.append(replace(
                    row, task=pairs, metric=metric, value=100 * row.value, unit="points",
                    higher_is_better=False, is_main=metric == "stereotype", chance=None,
                    majority=None,
                ))  # fmt: skip
                where = ItemKey(row.checkpoint, row.key)
                key = TaskKey(pairs, metric, 0)
                one = made.items[where]
                items[ItemKey(row.checkpoint, key)] = replace(one, values=100 * one.values)
    page = page_of(replace(made, scores=tuple(scores), items=items))
    text = Reader(page).text
    table = page.split("Which stereotypes are preferred")[1].split("</section>")[0]
    assert "race color" in table
    assert "50 is neutral" in table
    assert "loss-" not in table
    assert "gain-" not in table
    assert "stereotype, 50 is neutral" in text
    assert "Which stereotypes" not in page_of(make_results())


def test_stereoset_has_sense_and_icat_beside_its_shares_with_intervals():
    made = make_results()
    scores, items = list(made.scores), dict(made.items)
    for row in made.scores:
        if row.task == "embedded_piqa":
            one = made.items[ItemKey(row.checkpoint, row.key)]
            sources = np.array([f"term {n % 20}" for n in range(len(one.hashes))])
            both = replace(one, groups=sources, values=100 * np.stack([one.values, one.values]),
                           by_source=True, formula=icat)  # fmt: skip
            for metric in ("icat", "lms", "ss"):
                key = TaskKey("embedded_stereoset", metric, 0)
                its = both if metric == "icat" else replace(
                    both, values=both.values[0], formula=None)  # fmt: skip
                items[ItemKey(row.checkpoint, key)] = its
                scores.append(replace(
                    row, task=key.task, metric=metric, unit="points", chance=None, majority=None,
                    value=its.of_role(row.role).figures.score, is_main=metric == "icat",
                    higher_is_better=metric != "ss",
                ))  # fmt: skip
    made = replace(made, scores=tuple(scores), items=items)
    table = page_of(made).split("Which stereotypes are preferred")[1].split("</section>")[0]
    assert "sense before nonsense (LMS)" in table
    assert table.index(">all<") < table.index(">ICAT<")
    assert "no interval" not in table
    rows = measure_rows(ScoreBook(made.of_role("report"), "default"))
    changes = [row for row in rows if (row.measure, row.task) == (
        "change_from_base", "embedded_stereoset")]  # fmt: skip
    assert {row.metric for row in changes} == {"icat", "lms", "ss"}
    assert all(row.interval.known for row in changes)


def test_mixed_devices_warn(results):
    training = (*results.training[1:], replace(results.training[0], device="cuda"))
    page = page_of(replace(results, training=training))
    assert "Training used more than one device: cpu, cuda." in page


def test_several_seeds_and_variants(results):
    seeds = make_results(seeds=(0, 1, 2))
    page = page_of(seeds)
    assert "Means over 3 seeds" in page
    assert "small rings are single seeds" in page
    other = replace(results.variants[0], name="reversed")
    scores = (*results.scores, *(replace(row, variant="reversed") for row in results.scores))
    items = dict(results.items)
    for key, one in results.items.items():
        items[key._replace(checkpoint=key.checkpoint._replace(variant="reversed"))] = one
    text = Reader(
        page_of(replace(results, variants=(*results.variants, other), scores=scores, items=items))
    ).text
    assert text.count("Ship “low_rate”") == 2


def test_tasks_of_a_group_may_have_unlike_numbers_of_shots(results):
    def moved(key):
        return key._replace(num_fewshot=5) if key.task == "embedded_piqa" else key

    scores = tuple(replace(row, num_fewshot=moved(row.key).num_fewshot) for row in results.scores)
    items = {key._replace(task=moved(key.task)): one for key, one in results.items.items()}
    unlike = replace(results, scores=scores, items=items, questions={}, answers={}, given={})
    before, after = (
        [
            row
            for row in measure_rows(ScoreBook(one.of_role("report"), "default"))
            if (row.group, row.task) == ("general", "")
        ]
        for one in (results, unlike)
    )
    assert {row.num_fewshot for row in after} == {0, 5}
    places = [(*_place(row), row.num_fewshot) for row in after]
    assert len(set(places)) == len(places)
    fewest = {_place(row): row.value for row in at_fewest_shots(after)}
    assert fewest == pytest.approx({_place(row): row.value for row in before}, nan_ok=True)
    assert Reader(page_of(unlike)).faults == []


def _place(row):
    return row.arm, row.phase_index, row.measure, row.unit


def test_a_run_with_nothing_but_scores_still_makes_a_page(results):
    bare = replace(
        results, items={}, models={}, curves=(), training=(), samples=(), data=(), environment={}
    )
    reader = Reader(page_of(bare))
    assert reader.faults == []


def test_the_largest_page_is_under_3_megabytes():
    """12 arms, 6 tasks, 4 phases."""
    phases = ("a", "b", "c", "d")
    arms = tuple(
        Arm(name=f"arm_{n}", methods=("experience_replay",) if n else (), description="x" * 60)
        for n in range(12)
    )
    piqa = TASKS["embedded_piqa"]
    names = [*(f"phase:{phase}" for phase in phases), "embedded_boolq", "embedded_piqa"]
    facts = (*piqa[:5], 0.6, 0.62, (0.5,) * 6 + (0.55,) * 6)
    results = make_results(phases=phases, arms=arms, tasks=dict.fromkeys(names, facts))
    results = replace(results, recipe=RECIPE | {"fail_if": []})
    page = page_of(results)
    assert len(page.encode()) < 3_000_000
    assert Reader(page).faults == []


def test_writing_twice_gives_equal_bytes(results, tmp_path):
    for name in ("one", "two"):
        write_report(results, tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert {"report.html", "scores.csv", "measures.csv"} <= {str(path) for path in files}
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def test_nothing_scored_is_an_error_that_says_what_to_do(results):
    from retain.errors import DataError

    with pytest.raises(DataError, match="evaluate first with `retain run`"):
        analyse(replace(results, scores=()), [])


def test_the_page_is_written_last_and_a_full_disk_is_told(results, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(writer, "write_file", lambda path, content: written.append(path.name))
    monkeypatch.setattr(writer, "draw_figures", lambda analysis, folder: written.append("figures"))
    write_report(results, tmp_path)
    assert written == ["scores.csv", "measures.csv", "measures.tex", "figures", "report.html"]

    def full(analysis, folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, "draw_figures", full)
    with pytest.raises(StoreError, match="is full"):
        write_report(results, tmp_path)
