"""Word problems with one number as their answer: sources, the XML answer format, rewards."""
