"""The differential as FHIR R4: a Bundle with one DiagnosticReport and an Observation a class.

`fhir.resources` checks it with its R4B (4.3.0) models, since it has none of R4 (4.0.1) any more.
Neither Observation nor DiagnosticReport is among the changes of R4B
(https://hl7.org/fhir/R4B/history.html), and their elements are those of 4.0.1: what is valid here
is valid there.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from naturalize.base.errors import MissingExtraError, SettingsError
from naturalize.base.text import has_controls
from naturalize.dataset.schemes import meaning

LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"

#: Class → LOINC code of its per cent of the leukocytes in blood by manual count. Source of all: the
#: microscope parameters of Mindray BC-5380's HL7 interface, as OpenELIS lists them. Names checked
#: in extracts of LOINC (707-0, 714-6, 737-7, 740-1, 749-2, 769-0), at
#: healthassure.in/codes/loinc-744-3, in public tests of FHIR mappings (740-1, 764-1), and in a
#: record of LOINC 2.82 ("Promyelocytes/Leukocytes in Blood by Manual count", 783-1). The codes
#: of the panel at loinc.org/24318-8 (26508-2, 30180-4, …) are the same without a method.
CODES = {
    "SNE": "769-0",
    "BNE": "764-1",
    "EO": "714-6",
    "BA": "707-0",
    "LY": "737-7",
    "MO": "744-3",
    "MMY": "740-1",
    "MY": "749-2",
    "PMY": "783-1",
}

#: Nucleated red cells per 100 leukocytes by manual count: the same interface, and an Uzbek FHIR
#: terminology ("Nucleated erythrocytes/Leukocytes [Ratio] in Blood by Manual count"). 58413-6 is
#: that of analysers, and 19048-8 the one without a method (loinc.org/58413-6).
ERYTHROBLASTS = "18309-5"

#: Neutrophils.immature / neutrophils.total, a fraction (findacode.com/loinc/90223-9).
IMMATURE_TO_TOTAL = "90223-9"

#: Manual differential panel, blood (loinc.org/24318-8): discouraged as an order, right as a name.
PANEL = "24318-8"

#: Characters of what names a patient or a specimen: a FHIR id has 64, and a server's address.
LONGEST = 200

#: A literal reference (FHIR R4, 2.3.0.1): of a server's resource, whose address may be left out.
_REFERENCE = re.compile(r"(https?://[^\s<>\"']+/)?([A-Z][A-Za-z]+)/[A-Za-z0-9.-]{1,64}")

#: Names of a report's resources are derived from this and what it holds, so that the same report
#: has the same ones.
_SPACE = uuid.UUID("6a1c1c9e-8b57-4f0e-9a54-8d0b0a7f2c11")


def bundle(
    report: Mapping[str, Any], *, patient: str | None = None, specimen: str | None = None
) -> dict[str, Any]:
    """Return a report (`naturalize.review.service.deliver.exports.report`) as a JSON-able Bundle.

    ``patient`` and ``specimen`` are what `reference` takes; without them none is named. The
    status is ``final`` once the reading is signed, ``amended`` if it was opened again after a
    signature and signed anew, and ``preliminary`` before. Each Observation has its exact 95 %
    interval and the number of cells as components. ``SettingsError`` for a patient or specimen that
    cannot be; ``MissingExtraError`` without fhir.resources; its ``ValidationError`` if the Bundle
    were not valid.
    """
    try:
        from fhir.resources.R4B.bundle import Bundle
    except ImportError as error:
        raise MissingExtraError("fhir.resources", "review") from error
    signed = report["reading"]["signed_at"]
    common: dict[str, Any] = {
        "status": _status(report["reading"]),
        "effectiveDateTime": signed or report["generated"],
    }
    if patient is not None:
        common["subject"] = reference("Patient", patient)
    taken = None if specimen is None else reference("Specimen", specimen)
    if report["reading"]["signed_by"]:
        common["performer"] = [{"display": report["reading"]["signed_by"]}]
    held = [report["name"], report["created"], report["reading"], report["differential"]]
    base = json.dumps([*held, *filter(None, (patient, specimen))])
    observations = []
    for key, found in _results(report["differential"]):
        name = uuid.uuid5(_SPACE, f"{key} {base}")
        made = {**_observation(common), **found}
        observations.append((f"urn:uuid:{name}", made | ({"specimen": taken} if taken else {})))
    summary = {
        "resourceType": "DiagnosticReport",
        **common,
        "category": [{"coding": [{"system": _SECTION, "code": "HM"}]}],
        "code": _concept("Manual differential count of blood", PANEL),
        "issued": report["generated"],
        "result": [{"reference": url} for url, _ in observations],
        "conclusion": _conclusion(report),
        **({"specimen": [taken]} if taken else {}),
    }
    entries = [(f"urn:uuid:{uuid.uuid5(_SPACE, base)}", summary), *observations]
    whole = {
        "resourceType": "Bundle",
        "type": "collection",
        "timestamp": report["generated"],
        "entry": [{"fullUrl": url, "resource": resource} for url, resource in entries],
    }
    return json.loads(Bundle.model_validate(whole).model_dump_json())


def reference(kind: str, text: str) -> dict[str, Any]:
    """Return what a person entered for a patient or a specimen as a FHIR Reference.

    ``Patient/12``, with a server's address or without, is a literal reference; any other text is
    an identifier, of no system. ``SettingsError`` for a reference of another kind, control
    characters, no text, or more than `LONGEST` characters; the text itself is not in it, as errors
    are written down.

    Examples
    --------
    >>> reference("Specimen", "26-0815")
    {'type': 'Specimen', 'identifier': {'value': '26-0815'}}
    """
    text = text.strip()
    if not 0 < len(text) <= LONGEST or has_controls(text):
        raise SettingsError(
            f"{kind.lower()}: expected 1 to {LONGEST} characters, none of them a control character"
        )
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return {"type": kind, "identifier": {"value": text}}
    if found[2] != kind:
        raise SettingsError(f"{kind.lower()}: expected {kind}/ID, or a number; got another kind")
    return {"reference": text}


def _status(reading: Mapping[str, Any]) -> str:
    if not reading["signed_at"]:
        return "preliminary"
    return "amended" if reading["reopened"] else "final"


def _concept(text: str, loinc: str | None = None) -> dict[str, Any]:
    # without LOINC's name: it changes between releases, and a server may refuse an old one
    return {"text": text, **({"coding": [{"system": LOINC, "code": loinc}]} if loinc else {})}


def _quantity(value: float, unit: str, code: str) -> dict[str, Any]:
    return {"value": round(value, 4), "unit": unit, "system": UCUM, "code": code}


def _observation(common: Mapping[str, Any]) -> dict[str, Any]:
    laboratory = {"coding": [{"system": _CATEGORY, "code": "laboratory"}]}
    return {"resourceType": "Observation", **common, "category": [laboratory]}


def _value(
    concept: dict[str, Any],
    numbers: tuple[float, float, float],
    unit: tuple[str, str],
    n: int,
    of: int,
) -> dict[str, Any]:
    """Return an Observation's code, value, and as components its interval and its cells."""
    value, low, high = numbers
    interval = {"low": _quantity(low, *unit), "high": _quantity(high, *unit)}
    return {
        "code": concept,
        "valueQuantity": _quantity(value, *unit),
        "component": [
            {"code": _concept("exact binomial 95 % interval"), "valueRange": interval},
            {"code": _concept("cells of the class"), "valueInteger": n},
            {"code": _concept("cells counted"), "valueInteger": of},
        ],
    }


def _results(differential: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found, percent = [], ("%", "%")
    for row in differential["rows"]:
        share = row["white"]
        if not share or share["share"] is None:
            continue
        meant = meaning(row["code"])
        code = CODES.get(next(iter(meant))) if len(meant) == 1 else None
        numbers = tuple(100 * share[key] for key in ("share", "low", "high"))
        concept = _concept(f"{row['name']}, per cent of white cells", code)
        found.append((row["code"], _value(concept, numbers, percent, share["n"], share["of"])))
    if red := differential["erythroblasts_per_100"]:
        whites = differential["white_cells"]
        concept = _concept("erythroblasts per 100 white cells", ERYTHROBLASTS)
        n = round(red["value"] * whites / 100)
        numbers = (red["value"], red["low"], red["high"])
        found.append(("ERB", _value(concept, numbers, ("/100 WBC", "/100{WBCs}"), n, whites)))
    ratio = differential["left_shift"]["immature_to_total"]
    if ratio and ratio["share"] is not None:
        concept = _concept("immature neutrophils of all neutrophils", IMMATURE_TO_TOTAL)
        numbers = (ratio["share"], ratio["low"], ratio["high"])
        found.append(("I/T", _value(concept, numbers, ("1", "1"), ratio["n"], ratio["of"])))
    if differential["platelets"]:
        # single platelets in pictures of cells: no concentration, so none of LOINC's counts
        concept = _concept("platelets seen, no concentration")
        found.append(("PLT", {"code": concept, "valueInteger": differential["platelets"]}))
    return found


def _conclusion(report: Mapping[str, Any]) -> str:
    """Return which flags hold, and how the cells were named."""
    fired = [flag["rule"] for flag in report["differential"]["flags"] if flag["fired"]]
    named = "named by a person" if report["reading"]["signed_at"] else "not all confirmed"
    of = f"{report['differential']['white_cells']} white cells, {named}"
    return f"{of}. Flags: {', '.join(fired)}." if fired else f"{of}."
