-- The tables of an image cache, as schemaVersion in schema.go numbers them.

CREATE TABLE images (
	seq       INTEGER PRIMARY KEY AUTOINCREMENT, -- later ones are larger, none comes twice
	key       TEXT NOT NULL UNIQUE,
	manifest  TEXT NOT NULL,
	tree      TEXT NOT NULL,
	suite     TEXT NOT NULL,
	wanted    TEXT NOT NULL,    -- the names asked for, by spaces
	packages  INTEGER NOT NULL,
	bytes     INTEGER NOT NULL, -- of the layers
	made      INTEGER NOT NULL, -- Unix seconds
	used      INTEGER NOT NULL, -- Unix seconds
	uses      INTEGER NOT NULL DEFAULT 0,
	build_ms  INTEGER NOT NULL, -- what making it took, for eviction by value
	share     REAL NOT NULL DEFAULT 1, -- of the work from nothing, that build_ms was for
	plain     INTEGER NOT NULL, -- 1 if it has no files and no steps
	kind      INTEGER NOT NULL, -- what must be equal for it to be a candidate
	sources   INTEGER NOT NULL, -- hash of the apt sources
	steps     TEXT NOT NULL,    -- hashes of its steps, by spaces
	packs     BLOB NOT NULL,    -- ids of its packages, see index.AppendSet
	pinned    INTEGER NOT NULL DEFAULT 0,
	outdated  TEXT NOT NULL DEFAULT '',  -- JSON of []Outdated, '' for none
	signer    TEXT NOT NULL DEFAULT '',  -- see image.Signature
	signature BLOB NOT NULL DEFAULT x''
);
CREATE INDEX images_kind ON images (kind);
CREATE INDEX images_used ON images (used);
CREATE TABLE layers (
	key    TEXT NOT NULL REFERENCES images (key) ON DELETE CASCADE,
	place  INTEGER NOT NULL,
	digest TEXT NOT NULL,
	size   INTEGER NOT NULL,
	PRIMARY KEY (key, place)
) WITHOUT ROWID;
CREATE INDEX layers_digest ON layers (digest);
CREATE TABLE origins ( -- who signed layers that were not made here
	digest TEXT NOT NULL,
	part   TEXT NOT NULL, -- the layer itself, or one of which it was made here
	signer TEXT NOT NULL, -- '' for nobody
	PRIMARY KEY (digest, part, signer)
) WITHOUT ROWID;
CREATE INDEX origins_part ON origins (part);
CREATE TABLE packages (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	hash    INTEGER NOT NULL UNIQUE, -- see index.Hash
	name    TEXT NOT NULL,
	version TEXT NOT NULL,
	arch    TEXT NOT NULL,
	digest  TEXT NOT NULL,
	size    INTEGER NOT NULL
);
CREATE TABLE names (   -- which image serves a wish
	name TEXT PRIMARY KEY,
	key  TEXT NOT NULL REFERENCES images (key) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX names_key ON names (key);
CREATE TABLE near (    -- what remains to be done for key from other
	key   TEXT NOT NULL REFERENCES images (key) ON DELETE CASCADE,
	other TEXT NOT NULL REFERENCES images (key) ON DELETE CASCADE,
	share REAL NOT NULL, -- of the work for key from nothing
	PRIMARY KEY (key, other)
) WITHOUT ROWID;
CREATE INDEX near_other ON near (other);
CREATE TABLE doomed (  -- blobs to delete as soon as nobody has them
	digest TEXT PRIMARY KEY
) WITHOUT ROWID;
CREATE TABLE dropped ( -- images that went since the index was written
	seq INTEGER PRIMARY KEY
);
CREATE TABLE popularity ( -- also of images that were evicted
	key  TEXT PRIMARY KEY,
	last INTEGER NOT NULL, -- id of the latest request that is counted
	fast REAL NOT NULL,    -- see evict.Use
	slow REAL NOT NULL,
	assists REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX popularity_last ON popularity (last);
CREATE TABLE requests (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	at       INTEGER NOT NULL, -- Unix milliseconds
	wish     TEXT NOT NULL,
	key      TEXT NOT NULL,
	kind     TEXT NOT NULL,
	saved_ms INTEGER NOT NULL,
	spent_ms INTEGER NOT NULL
);
CREATE TABLE state (
	generation INTEGER NOT NULL, -- of the list of images
	indexed    INTEGER NOT NULL, -- the generation that the index file has in its name
	upto       INTEGER NOT NULL, -- the largest seq in the index
	packages   INTEGER NOT NULL  -- the largest package id in the index
);
INSERT INTO state VALUES (0, 0, 0, 0);
CREATE TRIGGER images_added AFTER INSERT ON images BEGIN
	UPDATE state SET generation = generation + 1;
END;
CREATE TRIGGER images_dropped AFTER DELETE ON images BEGIN
	UPDATE state SET generation = generation + 1;
	INSERT OR IGNORE INTO dropped VALUES (old.seq);
END;
