package cache

import (
	"context"
	"database/sql"
	"time"

	"ore"
)

func touch(ctx context.Context, tx *sql.Tx, key ore.Key, now time.Time) error {
	_, err := tx.ExecContext(ctx, `UPDATE images SET used = ?, uses = uses + 1 WHERE key = ?`, now.Unix(), string(key))
	return err
}
