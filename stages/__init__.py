"""One thin file per DVC stage, named like the stage."""
