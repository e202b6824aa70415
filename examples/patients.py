"""Images that no reader knows: list them in a CSV file, patients included, and go on from there."""

import csv
from pathlib import Path

import naturalize as nz

nz.write_phantom("slides", per_class={"BNE": 6, "SNE": 6})

with Path("cells.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["path", "label", "group"])
    for number, image in enumerate(sorted(Path("slides/images").rglob("*.jpg"))):
        label = image.name.split("_")[0]
        table.writerow([image.as_posix(), label, f"patient-{number // 2}"])

catalog = nz.Catalog.build("cells.csv")
split = nz.Split.build(catalog, fractions=(0.5, 0.25, 0.25))
print(split.counts())  # images of one patient are never parted
