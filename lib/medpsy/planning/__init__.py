"""What a profile takes before anything runs: unit costs (`costs`), and what its sections do with them (`plan`)."""
