"""`python -m bench`: every comparison, one after the other."""

from bench.evaluation import main

main()  # what runs in a process of its own stands in a module that such a process can import, so not here
