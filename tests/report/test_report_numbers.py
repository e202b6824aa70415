"""Every number on the page is that of the artifact, worked out here by another way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from report_study import page_of

from naturalize.base.artifacts import read_json, read_table, write_table
from naturalize.evaluation.evaluate import score_table
from naturalize.report import audit as audit_section
from naturalize.report import composites, explanations, models, sentences, write_report
from naturalize.report.folder import open_study
from naturalize.report.page import cards as cards_of
from naturalize.report.page import render, verdict
from naturalize.report.section import Pictures


def text_of(study: Path) -> str:
    return page_of(study).text


def metrics(study: Path, run: str = "naturalize") -> dict:
    return read_json(study / "evaluations" / run / "metrics.json")


def test_the_verdict_names_the_run_chosen_on_validation(built_study: Path) -> None:
    m = metrics(built_study)
    low, high = m["intervals"]["macro_f1"]
    assert verdict(open_study(built_study)).replace("\u00a0", " ") == (
        f"Of 2 runs, “naturalize”, chosen on the validation images, reaches a macro-F1 of "
        f"{m['macro_f1']:.3f} (95 % interval {low:.3f}–{high:.3f}) on {m['n']} test images "
        "under the honest protocol."
    )


def test_validation_chooses_even_against_the_test_score(study: Path, edit_json) -> None:
    edit_json(study / "models/real-only/model.json", metrics={"macro_f1": 0.99})
    opened = open_study(study)
    assert opened.chosen is not None
    assert opened.chosen.name == "real-only"
    assert metrics(study, "real-only")["macro_f1"] < metrics(study)["macro_f1"]


def test_without_validation_scores_the_page_admits_that_test_images_chose(
    study: Path, edit_json
) -> None:
    edit_json(study / "models/real-only/model.json", metrics={})
    assert "“naturalize”, best on the test images," in verdict(open_study(study))
    assert "so that score is optimistic" in text_of(study)


def test_the_cards_hold_the_key_figures(built_study: Path) -> None:
    m = metrics(built_study)
    cards = {card.label: card for card in cards_of(open_study(built_study))}
    assert cards["Macro-F1"].value == f"{m['macro_f1']:.3f}"
    assert cards["Accuracy"].value == f"{m['accuracy']:.3f}"
    f1 = {label: row["f1"] for label, row in m["per_class"].items()}
    assert f1[cards["Weakest class"].value] == min(f1.values())
    assert cards["Test images"].value == str(sum(map(sum, m["confusion"])))
    parts = read_table(built_study / "split/split.parquet")["part"].to_pylist()
    assert cards["Training images"].value == str(parts.count("train"))
    assert cards["Composites"].value == "30"
    assert cards["Composites"].note == "0 with a parent outside train"


def test_the_table_of_classes_counts_the_split(built_study: Path) -> None:
    rows = read_table(built_study / "split/split.parquet").to_pylist()
    text = text_of(built_study)
    composed = Counter(read_table(built_study / "plan/plan.parquet")["label"].to_pylist())
    for label, name in (("BNE", "band neutrophil"), ("SNE", "segmented neutrophil")):
        its = Counter(row["part"] for row in rows if row["label"] == label)
        figures = [its["train"], its["val"], its["test"], its.total(), composed[label]]
        assert f"{label} {name} {' '.join(map(str, figures))}" in text


def test_what_was_left_aside_is_named(built_study: Path) -> None:
    text = text_of(built_study)
    assert "IG (1 image)" in text
    assert "ba/.DS_169665.jpg" in text
    assert "2 files: left out of the split" in text
    assert "bne/BNE_1.jpg: same pixels as sne/SNE_901.jpg (labelled SNE)" in text


def test_findings_come_with_the_serious_first_and_name_files(built_study: Path) -> None:
    audit = read_json(built_study / "audit/audit.json")
    found = audit_section.findings(audit)
    levels = [finding.level for finding in found]
    assert levels == sorted(levels, key=["serious", "notable", "minor"].index)
    titled = {finding.title.replace("\u00a0", " "): finding for finding in found}
    conflict = titled["1 picture with two labels"]
    assert conflict.lines == ("bne/BNE_1.jpg (BNE) = sne/SNE_901.jpg (SNE)",)
    assert titled["1 unreadable file"].lines[0].startswith("ba/BA_902.jpg: ")
    # the conflict's copy is not listed a second time
    assert titled["1 picture in several files"].lines == ("eo/EO_0.jpg = eo/EO_900.jpg",)
    sentence = audit_section.view(open_study(built_study), Pictures()).takeaway
    assert sentence.startswith(
        f"Of {audit['n_images']}\u00a0images, {audit['n_usable']} can be used"
    )


@pytest.mark.parametrize(
    ("score", "low", "level"),
    [(0.5, 0.45, "serious"), (0.20, 0.15, "notable"), (0.13, 0.11, None), (0.5, 0.1, None)],
    ids=["predicts", "linked", "hardly", "may be chance"],
)
def test_a_confounder_is_judged_by_its_way_from_chance_to_certainty(
    score: float, low: float, level: str | None
) -> None:
    entry = {
        "property": "encoder", "balanced_accuracy": score, "chance": 0.1,
        "interval": [low, score + 0.05], "verdict": "…",
    }  # fmt: skip
    found = audit_section.findings({"confounders": [entry]})
    assert [finding.level for finding in found] == ([level] if level else [])


def test_a_property_that_was_not_tested_has_a_row_without_a_bar(study: Path, edit_json) -> None:
    entry = {
        "property": "encoder", "balanced_accuracy": None, "chance": None, "interval": None,
        "verdict": "too few images to test",
    }  # fmt: skip
    edit_json(study / "audit/audit.json", confounders=[entry])
    assert "encoder – – – too few images to test" in text_of(study)


def test_cells_are_counted_by_kind_and_rejections_by_reason(built_study: Path) -> None:
    outcomes = read_table(built_study / "cells/outcomes.parquet").to_pylist()
    bank = read_table(built_study / "bank/cells.parquet").to_pylist()
    text = text_of(built_study)
    red = sum(row["n_rbc"] for row in outcomes)
    assert f"red cells {red}" in text
    rejected = sum(not row["accepted"] for row in bank)
    assert f"touches the border {rejected}" in text
    assert (
        f"{len(bank) - rejected} of {len(bank)} target cells were accepted for composition" in text
    )
    assert "no cell found (2)" in text


def test_the_lineage_is_told_and_counted_again(built_study: Path) -> None:
    assert "0 of 30 training composites have a parent outside train." in text_of(built_study)
    opened = open_study(built_study)
    plan = opened.artifacts["plan"]
    told = composites.lineage(opened, plan, plan.table("plan.parquet"))
    assert (told.clean, told.recounted, told.agrees) == (True, 0, True)


def test_the_settings_of_the_composition_are_told(built_study: Path) -> None:
    text = text_of(built_study)
    assert "with 6.0 red cells each on average" in text
    told = (
        "mode paper width 360 background 253, 229.5 seed 3 blend hard blur 0.00 to 0.97 pixels (σ)"
    )
    assert f"{told} most used target cell 4 times red cell without room 12 times" in text


def test_a_lineage_that_does_not_fit_the_plan_is_denounced(study: Path) -> None:
    file = study / "split/split.parquet"
    parts = read_table(file)
    parent = read_table(study / "plan/plan.parquet")["placements"][0].as_py()[0]["image_id"]
    moved = [
        "test" if image_id == parent else part
        for image_id, part in zip(
            parts["image_id"].to_pylist(), parts["part"].to_pylist(), strict=True
        )
    ]
    write_table(file, parts.set_column(parts.column_names.index("part"), "part", [moved]))
    html = write_report(study).read_text(encoding="utf-8")
    assert 'class="lineage stained"' in html
    assert "do not fit together" in html


def test_composites_with_parents_outside_are_not_called_clean(study: Path, edit_json) -> None:
    edit_json(study / "plan/lineage.json", outside=4)
    html = write_report(study).read_text(encoding="utf-8")
    assert "4 of 30\u00a0training composites have a parent outside train." in html
    assert 'class="lineage stained"' in html


def test_a_comparison_names_the_better_run_first() -> None:
    found = models.comparison(
        {
            "a": "plain", "b": "ours", "n": 200, "macro_f1_difference": -0.04,
            "interval": [-0.07, -0.01], "p_value": 0.004,
            "mcnemar": {"only_a_right": 5, "only_b_right": 19},
        }
    )  # fmt: skip
    assert found["said"] == "“ours” is better than “plain”:"
    assert (found["difference"], found["interval"]) == ("+0.040", "+0.010 to +0.070")
    assert found["p"] == "p\u00a0=\u00a00.004"
    assert found["clear"]


def test_mistakes_are_counted_from_the_predictions(built_study: Path) -> None:
    rows = read_table(built_study / "evaluations/naturalize/predictions.parquet").to_pylist()
    wrong = Counter((r["label"], r["predicted"]) for r in rows if r["label"] != r["predicted"])
    support = Counter(r["label"] for r in rows)
    found = sentences.mistakes(metrics(built_study))
    assert {(t, c): (n, of) for n, of, t, c in found} == {
        (t, c): (n, support[t]) for (t, c), n in wrong.items()
    }
    assert [f[0] for f in found] == sorted(wrong.values(), reverse=True)
    text = text_of(built_study)
    assert f"is wrong on {wrong.total()} of {len(rows)} test images" in text
    n, of, true, called = found[0]
    assert f"Most frequent mistakes: {true} taken for {called} ({n} of {of})" in text


def test_a_class_that_is_never_answered_is_named(study: Path, edit_json) -> None:
    folder = study / "evaluations/naturalize"
    table, m = read_table(folder / "predictions.parquet"), metrics(study)
    never, other = (label for label in m["labels"][:2])
    said = [other if p == never else p for p in table["predicted"].to_pylist()]
    table = table.set_column(table.column_names.index("predicted"), "predicted", [said])
    write_table(folder / "predictions.parquet", table)
    scored = score_table(table, protocol="honest", resamples=100)
    edit_json(folder / "metrics.json", **scored)
    text = text_of(study)
    assert f"Never answered by naturalize, so precision and F1 count as 0: {never}." in text


def test_every_run_stands_in_the_table_with_its_intervals(built_study: Path) -> None:
    text = text_of(built_study)
    for run in ("real-only", "naturalize"):
        m = metrics(built_study, run)
        for score in ("macro_f1", "macro_precision", "macro_recall", "accuracy"):
            low, high = m["intervals"][score]
            assert f"{m[score]:.3f} {low:.3f}–{high:.3f}" in text


def test_the_explained_mistakes_are_shown_surest_first(built_study: Path) -> None:
    section = explanations.view(open_study(built_study), Pictures())
    rows = read_table(built_study / "evaluations/naturalize/predictions.parquet").to_pylist()
    wrong = {r["path"] for r in rows if r["label"] != r["predicted"]}
    shown = section.data["wrong"]
    assert {example.path for example in shown} <= wrong
    assert all(len(example.pictures) == 3 for example in shown)
    sure = [int(example.confidence.split("\u00a0")[0]) for example in shown]
    assert sure == sorted(sure, reverse=True)
    assert {e.path for e in section.data["right"]}.isdisjoint(wrong)


def test_the_maps_are_checked_and_a_class_that_looks_at_red_cells_is_named(
    built_study: Path,
) -> None:
    text = text_of(built_study)
    found = read_json(built_study / "explanations/checks.json")
    first, *others = found["classes"]
    assert f"The model looks at red cells for {first} (1 of {len(found['classes'])}" in text
    assert f"{first} looks at red cells 17" in text
    assert f"{others[0]} 17" in text
    assert "score-cam 0.654 0.321 5" in text
    assert "middle of the image 0.654 0.321 5" in text


def test_stages_versions_settings_and_fingerprints_are_told(built_study: Path) -> None:
    text = text_of(built_study)
    assert "5 min 12 s" in text
    assert "1.4 GB" in text
    assert "python 3.11.9" in text
    assert "model: custom_cnn" in text
    for part in ("catalog", "split", "bank", "plan", "models/naturalize", "explanations"):
        mark = read_json(built_study / part / "artifact.json")["fingerprint"]
        assert f"{part}/" in text
        assert mark in text


def test_the_history_is_charted_for_each_run(built_study: Path) -> None:
    html = render(open_study(built_study))
    for run in ("naturalize", "real-only"):
        assert f'aria-label="Loss of {run} over the epochs' in html
        assert f'aria-label="Scores on validation of {run} over the epochs' in html
