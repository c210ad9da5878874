"""The site of a profile: executed notebooks as its pages, a front page, the ledger, and the evidence to read."""
