"""Where a classifier looked: Score-CAM, Grad-CAM and attention rollout, as maps and overlays."""
