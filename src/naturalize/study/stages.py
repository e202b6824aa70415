"""The stages of a study, in order, and nothing of their insides."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any

from naturalize.base.artifacts import read_written, write_json, writing
from naturalize.base.display import rows_of
from naturalize.base.errors import InputError
from naturalize.cells.bank import CellBank
from naturalize.cells.segment import segment_images
from naturalize.cells.segmenters import segmenter
from naturalize.compose.deliver.files import plan_composites
from naturalize.compose.deliver.pool import leak, write_pool
from naturalize.compose.recipe.plan import Plan
from naturalize.dataset.audit import audit, write_audit
from naturalize.dataset.catalog import Catalog
from naturalize.dataset.phantom import write_phantom
from naturalize.dataset.split import Split
from naturalize.evaluation.compare import write_comparisons
from naturalize.evaluation.evaluate import evaluate
from naturalize.explain.neighbours import Training
from naturalize.explain.write import explain_evaluation
from naturalize.inputs.labelled import part_items
from naturalize.models.folder import MODEL
from naturalize.models.predictor import Predictor
from naturalize.study.check import check_classes
from naturalize.study.runner import Stage, fingerprint_of
from naturalize.study.settings import StudySettings
from naturalize.training.fit import train


class Stages:
    """Builds the list of stages for one study in one folder."""

    def __init__(self, study: StudySettings, folder: Path) -> None:
        self.study, self.folder = study, folder

    def all(self) -> list[Stage]:
        """Return every stage that this study asks for, each after those it needs."""
        study = self.study
        stages = [self._phantom()] if study.data.phantom else []
        stages += [self._catalog(), self._audit()]
        if self.pools:
            stages += [self._segment(), self._bank(), self._plan()]
            stages += [self._pool(), self._pooled(), self._split(), self._leak()]
        else:
            stages += [self._split()]
            if study.compose or any(run.augment.masks for run in study.runs.values()):
                stages += [self._segment(), self._bank()]
            if study.compose and study.compose.scenes:
                stages += [self._laboratory()]
            if study.compose:
                stages += [self._plan()]
        stages += [self._train(run) for run in study.runs]
        stages += [self._evaluate(run) for run in study.runs]
        stages += [self._compare()]
        if study.explain:
            stages += [self._explain()]
        return stages

    # -- where things are -------------------------------------------------------------------

    @property
    def pools(self) -> bool:
        """Whether composites are pooled with real images before the split (the paper's way)."""
        return self.study.protocol == "paper"

    @property
    def data_root(self) -> Path:
        """The folder of images: the user's, or the phantom's."""
        if self.study.data.phantom:
            return self.folder / "data"
        if self.study.data.root is None:
            raise InputError(
                "no images named: add data.root to the study, or --set data.root=FOLDER "
                "(naturalize data fetch pbc downloads the PBC images)"
            )
        return self.study.data.root

    @cached_property
    def source(self) -> Catalog:
        """The catalog of real images, opened once."""
        return Catalog.load(self.folder / "catalog", root=self.data_root)

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog that is split and trained on: the real images, or the pool."""
        if not self.pools:
            return self.source
        return Catalog.load(self.folder / "pooled", root=self.folder / "pool")

    @cached_property
    def split(self) -> Split:
        """The split, opened once."""
        return Split.load(self.folder / "split")

    @cached_property
    def bank(self) -> CellBank:
        """The cell bank, opened once."""
        return CellBank.load(self.folder / "bank", root=self.source.root)

    @cached_property
    def laboratory(self) -> CellBank | None:
        """The bank of the laboratory whose images cells are set into, if the study names one."""
        compose = self.study.compose
        scenes = compose is not None and compose.scenes is not None
        return CellBank.load(self.folder / "laboratory") if scenes else None

    @cached_property
    def plan(self) -> Plan:
        """The plan of composites, opened once."""
        return Plan.load(self.folder / "plan")

    def _inputs(self, *names: str) -> dict[str, str]:
        return {name: fingerprint_of(self.folder / name) for name in names}

    @property
    def _engine(self) -> dict[str, Any]:
        return self.study.engine.model_dump()

    # -- the stages ---------------------------------------------------------------------------

    def _phantom(self) -> Stage:
        settings = self.study.data.phantom
        assert settings is not None

        def make(output: Path, _work: Path) -> None:
            write_phantom(
                output,
                per_class=settings.per_class,
                seed=settings.seed,
                size=(settings.width, settings.height),
                **self._engine,
            )

        return Stage("phantom", "data", (), settings.model_dump(), make)

    def _catalog(self) -> Stage:
        data = self.study.data
        settings = data.model_dump(include={"scheme", "reader", "columns", "strict"})

        def make(output: Path, _work: Path) -> None:
            Catalog.build(self.data_root, **settings, **self._engine).save(output)

        needs = ("phantom",) if data.phantom else ()
        return Stage(
            "catalog",
            "catalog",
            needs,
            settings,
            make,
            watch=lambda: listing(self.data_root),
            check=lambda: check_classes(self.study, self.source),
        )

    def _audit(self) -> Stage:
        def make(output: Path, _work: Path) -> None:
            with writing(output, "audit", inputs=self._inputs("catalog")) as folder:
                write_audit(self.source, audit(self.source), folder)

        return Stage("audit", "audit", ("catalog",), {}, make)

    def _split(self) -> Stage:
        settings = {**self.study.split.model_dump(mode="json"), "seed": self.study.seed}
        source = "pooled" if self.pools else "catalog"

        def make(output: Path, _work: Path) -> None:
            Split.build(self.catalog, **settings).save(output, inputs=self._inputs(source))

        return Stage("split", "split", (source,), settings, make)

    def _segment(self) -> Stage:
        settings = self.study.segment.model_dump()

        def make(output: Path, work: Path) -> None:
            segment_images(
                list(rows_of(self.source.usable(), "image_id", "path")),
                self.source.root,
                segmenter(settings["segmenter"], **settings["settings"]),
                output,
                work=work,
                inputs=self._inputs("catalog"),
                **self._engine,
            )

        return Stage("segment", "cells", ("catalog",), settings, make)

    def _bank(self) -> Stage:
        read = ("cells", "catalog") if self.pools else ("cells", "catalog", "split")
        part = None if self.pools else "train"

        def make(output: Path, _work: Path) -> None:
            split = None if self.pools else self.split
            bank = CellBank.build(self.folder / "cells", self.source, split, part=part)
            bank.save(output, inputs=self._inputs(*read))

        needs = tuple("segment" if name == "cells" else name for name in read)
        return Stage("bank", "bank", needs, {"part": part}, make)

    def _laboratory(self) -> Stage:
        compose, segment = self.study.compose, self.study.segment
        assert compose is not None
        assert compose.scenes is not None
        scenes = compose.scenes
        counts = compose.model_dump(exclude={"settings", "scenes"})
        settings = {**counts, "segment": segment.model_dump(), "seed": self.study.seed}

        def make(output: Path, work: Path) -> None:
            from naturalize.compose.draw.planner import counts_of
            from naturalize.inputs.compose import ComposeSource
            from naturalize.inputs.laboratory import set_into

            wanted, _ = counts_of(self.bank, real=self.split.counts()["train"], **counts)
            set_into(
                ComposeSource(self.bank, self.split),
                scenes,
                wanted=wanted,
                work=work,
                out=output,
                segmenter=segment.segmenter,
                segmenter_settings=segment.settings,
                seed=self.study.seed,
                **self._engine,
            )

        needs = ("bank", "split")
        return Stage(
            "laboratory", "laboratory", needs, settings, make, watch=lambda: listing(scenes)
        )

    def _plan(self) -> Stage:
        compose = self.study.compose
        assert compose is not None
        # a study without scenes has the settings that it had before there were any
        settings = {**compose.model_dump(exclude={"scenes"}), "seed": self.study.seed}
        read = ("bank", "catalog") if self.pools else ("bank", "split")
        if compose.scenes is not None:
            settings["settings"] = {**settings["settings"], "donors": "foreign"}
            read = ("laboratory", "split")

        def make(output: Path, _work: Path) -> None:
            split = None if self.pools else self.split
            bank = self.laboratory or self.bank
            plan_composites(bank, split, self.source, output, settings, self._inputs(*read))

        return Stage("plan", "plan", read, settings, make)

    def _pool(self) -> Stage:
        def make(output: Path, work: Path) -> None:
            write_pool(self.source, self.plan, self.bank, output, work=work, **self._engine)

        return Stage("pool", "pool", ("catalog", "bank", "plan"), {}, make)

    def _pooled(self) -> Stage:
        settings: dict[str, Any] = {"scheme": self.study.data.scheme, "reader": "class"}

        def make(output: Path, _work: Path) -> None:
            Catalog.build(self.folder / "pool", **settings, **self._engine).save(output)

        return Stage("pooled", "pooled", ("pool",), settings, make)

    def _leak(self) -> Stage:
        def make(output: Path, _work: Path) -> None:
            write_json(output, leak(self.plan, self.catalog, self.split))

        return Stage("leak", "leak.json", ("plan", "pooled", "split"), {}, make)

    def _train(self, run: str) -> Stage:
        settings = self.study.runs[run]
        source = "pooled" if self.pools else "catalog"
        # the pool has the composites as images among the others
        composed = settings.composites and not self.pools
        masked = composed or settings.augment.masks
        other = [f"models/{settings.elsewhere}"] if settings.elsewhere else []

        def make(output: Path, work: Path) -> None:
            train(
                settings.model_copy(update={"composites": composed}),
                self.catalog,
                self.split,
                plan=self.plan if composed else None,
                bank=self.bank if masked else None,
                laboratory=self.laboratory if composed else None,
                out=output,
                work=work,
                protocol=self.study.protocol,
                inputs=self._inputs(source, "split", *(["plan"] if composed else []), *other),
                elsewhere=self.folder / other[0] if other else None,
            )

        needs = (source, "split", *(("bank",) if masked else ()))
        needs += ("plan",) if composed else ()
        needs += (f"train-{settings.elsewhere}",) if settings.elsewhere else ()
        decides = {**settings.model_dump(mode="json"), "protocol": self.study.protocol}
        return Stage(f"train-{run}", f"models/{run}", needs, decides, make)

    def _evaluate(self, run: str) -> Stage:
        settings = {"part": "test", "seed": self.study.seed, "protocol": self.study.protocol}
        if self.study.robustness:
            settings["robustness"] = self.study.robustness
        source = "pooled" if self.pools else "catalog"

        def make(output: Path, work: Path) -> None:
            evaluate(
                Predictor.load(self.folder / "models" / run),
                part_items(self.catalog, self.split, "test"),
                self.catalog.root,
                output,
                protocol=self.study.protocol,
                robustness=self.study.robustness,
                seed=self.study.seed,
                work=work,
                inputs=self._inputs(f"models/{run}", "split", source),
            )

        needs = (f"train-{run}", "split", source)
        return Stage(f"evaluate-{run}", f"evaluations/{run}", needs, settings, make)

    def _compare(self) -> Stage:
        runs = list(self.study.runs)

        def make(output: Path, _work: Path) -> None:
            paths = {run: self.folder / "evaluations" / run for run in runs}
            write_comparisons(paths, output, seed=self.study.seed)

        needs = tuple(f"evaluate-{run}" for run in runs)
        settings = {"runs": runs, "seed": self.study.seed}
        return Stage("compare", "comparisons.json", needs, settings, make)

    def _explain(self) -> Stage:
        settings = self.study.explain
        assert settings is not None

        def make(output: Path, work: Path) -> None:
            run = settings.run or best_run(self.folder, list(self.study.runs))
            trained = part_items(self.catalog, self.split, "train")
            explain_evaluation(
                self.folder / "models" / run,
                self.folder / "evaluations" / run,
                self.catalog.root,
                output,
                methods=settings.methods,
                per_class=settings.per_class,
                mistakes=settings.mistakes,
                seed=self.study.seed,
                work=work,
                inputs=self._inputs(f"models/{run}", f"evaluations/{run}"),
                training=Training.drawn(self.catalog.root, trained, self.study.seed),
            )

        needs = tuple(f"evaluate-{run}" for run in self.study.runs)
        decides = {**settings.model_dump(), "seed": self.study.seed}
        return Stage("explain", "explanations", needs, decides, make)


def best_run(folder: Path, runs: list[str]) -> str:
    """Return the run with the best validation macro-F1 (the test images decide nothing)."""

    def score(run: str) -> float:
        return float(read_written(folder / "models" / run, MODEL)["metrics"]["macro_f1"])

    return max(runs, key=score)


def listing(root: Path) -> str:
    """Return a digest of the names, sizes and times of all files below ``root``."""
    if not root.exists():
        raise InputError(f"{root}: no such folder; name the folder of images in data.root")
    files = sorted(p for p in ([root] if root.is_file() else root.rglob("*")) if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(f"{file.relative_to(root)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
