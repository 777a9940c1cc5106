"""The MiniCity data set: programs that draw it, convert Cityscapes to it, and explore it."""
