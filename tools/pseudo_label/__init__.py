"""Label images with runs, to train on the labels."""
