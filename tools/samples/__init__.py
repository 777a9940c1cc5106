"""An image of what each augmentation does."""
