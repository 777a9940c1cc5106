"""The parts of the drawn street scenes; `minicity.scene` puts them together."""
