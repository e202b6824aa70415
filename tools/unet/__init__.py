"""How the weights of the `unet` segmenter were made; each step is a command of its own.

`teach` (proposals and SAM), `train` and `export` gave the shipped ones. To teach these again for
fields of other laboratories: `own` (their own masks that a bank accepts), `composed` (composed
fields), `train --start shipped`, `export`; `benchmarks.fields` compares the two.
"""
