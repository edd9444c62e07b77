package room

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"time"

	"modernc.org/sqlite"
)

// Connector opens the database of a cache's folder when it is first needed. Where
// the disk is full the spare room is given up for that, and if that is not enough
// the error says what to do.
type Connector struct {
	File string        // of the database
	Busy time.Duration // how long a writer waits for another process's transaction
	Spare
}

var _ driver.Connector = Connector{}

// Connect opens one connection.
func (c Connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.open()
	if c.GiveUp(err) {
		conn, err = c.open()
	}
	return conn, Explain(err, c.File)
}

// open makes sure that the database can be read: the log that SQLite keeps beside
// it needs some room even for that.
func (c Connector) open() (driver.Conn, error) {
	pragmas := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", c.Busy.Milliseconds()),
		"journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)",
	}}
	conn, err := c.Driver().Open("file:" + c.File + "?" + pragmas.Encode())
	if err != nil {
		return nil, err
	}
	q, ok := conn.(driver.QueryerContext)
	if !ok {
		return conn, nil
	}
	rows, err := q.QueryContext(context.Background(), `PRAGMA user_version`, nil)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := rows.Close(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Driver returns SQLite's.
func (Connector) Driver() driver.Driver { return &sqlite.Driver{} }
