"""What must not be missed: leaks, phantoms, whom to cite; and names that would do harm."""

from __future__ import annotations

import json
from pathlib import Path

from report_study import HOSTILE, Page, page_of, rewritten

from naturalize.base.artifacts import (
    read_json,
    read_table,
    write_bytes,
    write_json,
    write_table,
    writing,
)
from naturalize.report import write_report
from naturalize.report.folder import open_study
from naturalize.report.page import banners


def kinds(study: Path) -> list[str]:
    return [banner.kind for banner in banners(open_study(study))]


def set_yaml(study: Path, old: str, new: str) -> None:
    file = study / "study.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_an_honest_study_of_real_images_has_no_banner_and_cites_its_data(built_study: Path) -> None:
    assert kinds(built_study) == []
    text = page_of(built_study).text
    assert "Data in Brief 30 (2020) 105474" in text
    assert "CC BY 4.0" in text


def test_a_paper_protocol_in_the_settings_or_in_any_score_raises_the_banner(
    study: Path, edit_json
) -> None:
    set_yaml(study, "protocol: honest", "protocol: paper")
    assert kinds(study) == ["leak"]
    set_yaml(study, "protocol: paper", "protocol: honest")
    edit_json(study / "evaluations/real-only/metrics.json", protocol="paper")
    html = write_report(study).read_text(encoding="utf-8")
    assert "These scores leak" in html
    assert "under the paper protocol, which leaks." in html


def test_composites_with_parents_outside_raise_the_banner(study: Path, edit_json) -> None:
    edit_json(study / "plan/lineage.json", outside=4)
    assert kinds(study) == ["leak"]
    assert "but 4 composites have a parent outside train." in page_of(study).text
    edit_json(study / "plan/lineage.json", outside=0)
    assert kinds(study) == []


def test_test_images_of_the_training_raise_the_banner(study: Path, edit_json) -> None:
    file = study / "evaluations/naturalize/metrics.json"
    n = read_json(file)["n"]
    edit_json(file, n_trained_on=7)
    assert kinds(study) == ["leak"]
    assert f"“naturalize” was trained on 7 of its {n} test images." in page_of(study).text
    set_yaml(study, "protocol: honest", "protocol: paper")  # its banner says so already
    assert kinds(study) == ["leak"]


def test_pooled_composites_are_not_counted_twice(study: Path) -> None:
    set_yaml(study, "protocol: honest", "protocol: paper")
    write_json(study / "leak.json", {"statement": "3 of 9 test composites …"})
    text = page_of(study).text
    assert "30 composites were pooled with them and are counted." in text
    assert "with the pooled composites" in text
    assert "without composites" not in text


def test_a_phantom_named_in_the_settings_raises_the_banner(study: Path) -> None:
    set_yaml(study, "phantom: null", "phantom: {per_class: 6}")
    assert kinds(study) == ["phantom"]


def test_a_phantom_beside_the_artifacts_raises_the_banner_and_is_not_pbc(study: Path) -> None:
    with writing(study / "data", "phantom"):
        pass
    html = write_report(study).read_text(encoding="utf-8")
    assert "no figure on this page says anything about real cells" in html.replace("\n", " ")
    assert "Data in Brief" not in html


def test_a_root_that_is_a_phantom_raises_the_banner(study: Path, tmp_path: Path, edit_json) -> None:
    with writing(tmp_path / "smears", "phantom") as out:
        write_bytes(out / "images" / "x.txt", b"x")
    edit_json(study / "catalog/catalog.json", root=str(tmp_path / "smears" / "images"))
    assert kinds(study) == ["phantom"]


def test_other_data_is_not_called_pbc(study: Path, edit_json) -> None:
    edit_json(study / "catalog/catalog.json", scheme="folders")
    assert "Data in Brief" not in write_report(study).read_text(encoding="utf-8")


def poison(file: Path, **old_new: str) -> None:
    """Replace JSON strings wherever they stand in a file."""
    text = file.read_text(encoding="utf-8")
    for old, new in old_new.values():
        assert json.dumps(old) in text
        text = text.replace(json.dumps(old), json.dumps(new))
    file.write_text(text, encoding="utf-8")
    rewritten(file)


def test_hostile_names_are_shown_and_never_run(study: Path) -> None:
    poison(study / "audit/audit.json", a=("ba/BA_902.jpg", HOSTILE))
    poison(study / "catalog/catalog.json", a=("ba/.DS_169665.jpg", HOSTILE))
    entries = json.loads((study / "explanations/explanations.json").read_text())
    write_json(
        study / "explanations/explanations.json", [{**entry, "path": HOSTILE} for entry in entries]
    )
    rewritten(study / "explanations/explanations.json")
    for run in ("naturalize", "real-only"):
        poison(study / f"evaluations/{run}/metrics.json", a=("BNE", HOSTILE))
        file = study / f"evaluations/{run}/predictions.parquet"
        table = read_table(file)
        table = table.set_column(1, "path", [[HOSTILE] * table.num_rows])
        write_table(file, table)
    (study / "study.yaml").write_text(
        f"name: x\nnote: {json.dumps(HOSTILE)}\n# </pre><script>1</script>\n"
    )
    (study / "models/naturalize").rename(study / "models/<b onclick=x>")
    html = write_report(study).read_text(encoding="utf-8")
    page = Page(html)
    assert not page.all("script")
    assert not [attrs for _, attrs in page.tags if any(k.startswith("on") for k in attrs)]
    assert "<script" not in html
    assert page.text.count("<script>alert('x')</script>") >= 5
    assert "<b onclick=x>" in page.text
