package cache

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"ore"
	"ore/cache/evict"
	"ore/cache/forecast"
)

// maxRequests is how many requests are remembered: some months of a busy site.
const maxRequests = 20_000

// forgotten is after how many requests nobody remembers how popular an image
// was: its count was halved twenty times by then.
const forgotten = 20 * evict.SlowHalf

// Request is one request for an environment, and what came of it.
type Request struct {
	Wish  string        // see WishOf
	Key   ore.Key       // of the environment
	When  time.Time     // zero means now
	Kind  string        // how it was met: a way of the plan
	From  ore.Key       // the image that was built upon, "" for none
	Saved time.Duration // against making it without any image; what From is credited with if there is one
	Spent time.Duration // until the image was there
}

// Hit is the Kind of a request whose image was there.
const Hit = "exact"

// Note remembers a request. What is asked for often, and what others are built
// upon, is kept longer. It is to be called once for every request, whether its
// image was there or not.
func (c *Cache) Note(ctx context.Context, r Request) error {
	if r.When.IsZero() {
		r.When = c.config.Now()
	}
	if err := c.write(ctx, func(tx *sql.Tx) error { return note(ctx, tx, r) }); err != nil {
		return fmt.Errorf("note request for %s: %w", r.Key.Short(), err)
	}
	return nil
}

// Touch notes that the image of key was there and is used now.
func (c *Cache) Touch(ctx context.Context, key ore.Key) error {
	err := c.write(ctx, func(tx *sql.Tx) error {
		r := Request{Key: key, When: c.config.Now(), Kind: Hit}
		var ms int64
		err := tx.QueryRowContext(ctx, `SELECT build_ms, COALESCE((SELECT name FROM names n WHERE n.key = i.key LIMIT 1), '')
			FROM images i WHERE key = ?`, string(key)).Scan(&ms, &r.Wish)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Saved = time.Duration(ms) * time.Millisecond
		return note(ctx, tx, r)
	})
	if err != nil {
		return fmt.Errorf("note use of image %s: %w", key.Short(), err)
	}
	return nil
}

func note(ctx context.Context, tx *sql.Tx, r Request) error {
	done, err := tx.ExecContext(ctx, `INSERT INTO requests (at, wish, key, kind, saved_ms, spent_ms) VALUES (?, ?, ?, ?, ?, ?)`,
		r.When.UnixMilli(), r.Wish, string(r.Key), r.Kind, r.Saved.Milliseconds(), r.Spent.Milliseconds())
	if err != nil {
		return err
	}
	n, err := done.LastInsertId()
	if err != nil {
		return err
	}
	for _, q := range []struct {
		text string
		args []any
	}{
		{`DELETE FROM requests WHERE id <= ?`, []any{n - maxRequests}},
		{`DELETE FROM popularity WHERE last <= ?`, []any{n - forgotten}},
		{`UPDATE images SET used = ?, uses = uses + 1 WHERE key = ?`, []any{r.When.Unix(), string(r.Key)}},
	} {
		if _, err := tx.ExecContext(ctx, q.text, q.args...); err != nil {
			return err
		}
	}
	if err := popular(ctx, tx, r.Key, func(u evict.Use) evict.Use { return u.Asked(n) }); err != nil || r.From == "" || r.From == r.Key {
		return err
	}
	return popular(ctx, tx, r.From, func(u evict.Use) evict.Use { return u.Assisted(n, r.Saved.Seconds()) })
}

// popular changes how popular the image of key is.
func popular(ctx context.Context, tx *sql.Tx, key ore.Key, change func(evict.Use) evict.Use) error {
	var u evict.Use
	err := tx.QueryRowContext(ctx, `SELECT last, fast, slow, assists FROM popularity WHERE key = ?`, string(key)).
		Scan(&u.Last, &u.Fast, &u.Slow, &u.Assists)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	u = change(u)
	_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO popularity VALUES (?, ?, ?, ?, ?)`, string(key), u.Last, u.Fast, u.Slow, u.Assists)
	return err
}

// Requests returns the requests that are remembered, the oldest first.
func (c *Cache) Requests(ctx context.Context) ([]Request, error) {
	rows, err := c.db.QueryContext(ctx, `SELECT at, wish, key, kind, saved_ms, spent_ms FROM requests ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list requests: %w", err)
	}
	defer rows.Close()
	var all []Request
	for rows.Next() {
		var r Request
		var at, saved, spent int64
		if err := rows.Scan(&at, &r.Wish, &r.Key, &r.Kind, &saved, &spent); err != nil {
			return nil, fmt.Errorf("list requests: %w", err)
		}
		r.When, r.Saved, r.Spent = time.UnixMilli(at), time.Duration(saved)*time.Millisecond, time.Duration(spent)*time.Millisecond
		all = append(all, r)
	}
	return all, rows.Err()
}

// Ahead is how far Likely looks: long enough to build an image, short enough
// that most of what is prepared is asked for.
const Ahead = time.Hour

// Likely returns the wishes that will most likely be asked for within an hour
// of now, the most likely first.
func (c *Cache) Likely(ctx context.Context, now time.Time, max int) ([]forecast.Prediction, error) {
	all, err := c.Requests(ctx)
	if err != nil {
		return nil, err
	}
	arrivals := make([]forecast.Arrival, 0, len(all))
	for _, r := range all {
		if r.Wish != "" {
			arrivals = append(arrivals, forecast.Arrival{Wish: r.Wish, At: r.When})
		}
	}
	return forecast.Likely(arrivals, now, Ahead, max), nil
}
