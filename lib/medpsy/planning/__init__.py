"""What a profile takes before anything runs: what its sections do (`work`), unit costs (`costs`), both (`plan`)."""
