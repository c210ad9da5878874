"""Speed of the library beside the raw engines and trainers; no part of the library. `make bench` runs all of it."""
