"""The whole interface under what a schema's fuzzer thinks of: never a crash, never another form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings

from naturalize.base.images import encode_image
from naturalize.review.api.room import TOKEN, Serving
from naturalize.review.app import create_app
from naturalize.review.service.review import Review
from naturalize.review.store.cells import CellRow

CLASSES = ["BA", "EO", "LY", "SNE"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of a review of six cells."""
    place = tmp_path_factory.mktemp("schema")
    folder, images = place / "monday", place / "images"
    folder.mkdir()
    images.mkdir()
    picture = encode_image(np.full((40, 40, 3), 200, np.uint8))
    for number in range(6):
        (images / f"{number}.png").write_bytes(picture)
    Review.create(folder, described(images), [CellRow(f"{n}.png") for n in range(6)])
    hosts = Serving("meier").hosts | {"testserver"}
    with TestClient(create_app(folder, Serving("meier", hosts=hosts))) as client:
        yield client


def described(images: Path) -> dict[str, Any]:
    return {
        "name": "monday",
        "created": "2026-11-28T12:00:00+00:00",
        "model": "pbc11",
        "weights_hash": "",
        "classes": CLASSES,
        "bins": CLASSES,
        "keys": {code: str(i) for i, code in enumerate(CLASSES)},
        "root": str(images),
        "target": 100,
        "rules": [],
        "set_share": None,
        "input": "folder",
        "heat": False,
        "shown": 40,
        "platelets": None,
        "left_out": {},
        "source": ["images"],
    }


def test_every_answer_is_as_the_schema_says(served: TestClient) -> None:
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", served.app)
    headers = {TOKEN: served.get("/api/v1/session").json()["csrf"]}
    names = ("not_a_server_error", "response_schema_conformance", "status_code_conformance")
    checks = [getattr(schemathesis.checks, name) for name in names]
    tried = []
    for result in schema.get_all_operations():
        operation = result.ok()
        tried.append(operation.label)

        @given(case=operation.as_strategy())
        @settings(
            max_examples=4,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def answers(case: Any) -> None:
            case.call_and_validate(headers=headers, checks=checks)

        answers()
    assert len(tried) > 25
