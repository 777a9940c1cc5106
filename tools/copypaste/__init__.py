"""New training images: objects of rare classes pasted on images that show little of these classes."""
