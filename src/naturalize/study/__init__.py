"""A study: one YAML file, one folder, all stages from images to a report."""
