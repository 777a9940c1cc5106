"""The MiniCity data set's own folder: programs that draw it, arrange it and look at it."""
