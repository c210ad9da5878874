-- never committed: the file is thrown away, and what the cache (in KiB) cannot hold spills
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32768;
CREATE TABLE signature (id INTEGER PRIMARY KEY, numbers BLOB);
CREATE TABLE band (numbers BLOB, id INTEGER, PRIMARY KEY (numbers, id)) WITHOUT ROWID;
BEGIN
